"""What the shards of a running job would remove from their tables, or have removed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, zip_longest
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from jobs.errors import JobError
from jobs.load import load_job
from jobs.spec import Job
from jobs.stack.record import find_run
from model.features import tables
from ps.client import ShardError, Shards

_RECONNECT_S: Final = 2.0
_SHOWN_IDS: Final = 5


@dataclass(frozen=True)
class Trial:
    """A policy to try; None: as the job file says. `table` None: all tables."""

    table: str | None
    after_s: float | None
    max_rows: int | None
    """Of the whole table."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one table, over all shards."""

    rows: int
    """Before anything goes."""
    would_remove: int
    removed: int
    """So many fewer there were afterwards; rows that came meanwhile count against it."""
    after_s: float | None
    max_rows: int | None
    when_full: str
    now_ms: int | None
    """Event time of the shard that is least far; None: one of them has too few rows to know it."""
    ids: list[int]
    """Some of those that would go."""


def find_shards(job: Job) -> tuple[str, ...]:
    """host:port of the job's running shards: those it names, or of its newest run; raises JobError."""
    if job.ps.addresses:
        return job.ps.addresses
    record = find_run(job.name)
    if not record.is_alive:
        raise JobError(
            f"{job.name} is not running: its newest run ({record.path}) is {record.state}. "
            "Start it with `freshet run`, or name the shards of another machine with --set ps.addresses=…"
        )
    return load_job(record.path / "job.yaml").ps.addresses


def trial(job: Job, addresses: Sequence[str], policy: Trial) -> dict[str, Fate]:
    """What `policy` would remove now, by table; raises JobError."""
    known = tables(job.schema_)
    if policy.table is not None and policy.table not in known:
        raise JobError(f"--table {policy.table}: the job has the tables {', '.join(sorted(known))}.", 2)
    limit = None if policy.max_rows is None else -(-policy.max_rows // len(addresses))
    named = {"table": policy.table, "after_s": policy.after_s, "max_rows": limit}
    answers = _ask(addresses, {name: value for name, value in named.items() if value is not None})
    return {name: _fate([answer[name] for answer in answers]) for name in answers[0]}


def removal(job: Job, addresses: Sequence[str]) -> dict[str, Fate]:
    """Remove what has expired; raises JobError."""
    before = trial(job, addresses, Trial(None, None, None))
    answers = _ask(addresses, {}, dry_run=False)
    left = {name: sum(answer[name]["rows"] for answer in answers) for name in before}
    return {
        name: Fate(**vars(fate) | {"removed": max(0, fate.rows - left[name])})
        for name, fate in before.items()
    }


def print_fates(fates: Mapping[str, Fate], dry_run: bool) -> None:
    """A table for people: a line for each table."""
    grid = Table(title="What would go (nothing has)" if dry_run else "What has gone")
    for title, side in (("table", "left"), ("rows", "right"), ("would go" if dry_run else "gone", "right")):
        grid.add_column(title, justify=side)  # type: ignore[arg-type]
    for title in ("policy", "event time", "some of the ids"):
        grid.add_column(title)
    for name, fate in fates.items():
        count = fate.would_remove if dry_run else fate.removed
        ids = ", ".join(map(str, fate.ids[:_SHOWN_IDS])) + (" …" if fate.would_remove > _SHOWN_IDS else "")
        share = f" ({count / fate.rows:.0%})" if count else ""
        grid.add_row(name, f"{fate.rows:,}", f"{count:,}{share}", _policy(fate), _clock(fate), ids)
    Console().print(grid)


def _ask(addresses: Sequence[str], options: Mapping[str, Any], dry_run: bool = True) -> list[dict[str, Any]]:
    """By shard: what it says of each table."""
    with Shards(addresses, reconnect_s=_RECONNECT_S) as shards:
        try:
            return [answer["tables"] for answer in shards.expire({"dry_run": dry_run, **options})]
        except ShardError as error:
            raise JobError(f"{error}. Is the job running? `freshet status` says.") from error


def _fate(shares: Sequence[Mapping[str, Any]]) -> Fate:
    limits = [share["max_rows"] for share in shares]
    clocks = [share["now_ms"] for share in shares]
    ids = [i for i in chain.from_iterable(zip_longest(*(share["ids"] for share in shares))) if i is not None]
    return Fate(
        rows=sum(share["rows"] for share in shares),
        would_remove=sum(share["would_remove"] for share in shares),
        removed=0,
        after_s=shares[0]["after_s"],
        max_rows=None if None in limits else sum(limits),
        when_full=shares[0]["when_full"],
        now_ms=None if None in clocks else min(clocks),
        ids=ids,
    )


def _policy(fate: Fate) -> str:
    return " · ".join(_rules(fate)) or "keeps all"


def _rules(fate: Fate) -> Iterator[str]:
    if fate.after_s is not None:
        yield f"after {fate.after_s:,.0f} s"
    if fate.max_rows is not None:
        yield f"max_rows {fate.max_rows:,} ({fate.when_full})"


def _clock(fate: Fate) -> str:
    if fate.now_ms is None:
        return "too few rows" if fate.after_s is not None else "–"
    return datetime.fromtimestamp(fate.now_ms / 1000, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
