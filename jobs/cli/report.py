"""A run at one moment, for `freshet status`: what is wrong, what is waited for, the numbers, the parts."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from jobs.errors import JobError
from jobs.stack.record import Record

STALE_S: Final = 10.0
"""roles.json is replaced each second, later on a machine that has too much to do."""
BETWEEN_LOOKS_S: Final = 1.0
"""Rates need two looks."""
_BROKEN: Final = ("failed", "restarting")
_ALWAYS: Final = ("matched", "negative", "late", "orphan", "malformed")
"""Outcomes of the join that are told even when there are none."""
_SOON: Final = ("waiting", "starting")


@dataclass(frozen=True)
class Report:
    """One run at one moment."""

    record: Record
    now_s: float
    wrong: list[str]
    waiting_for: list[str]
    observation: Mapping[str, Any] | None
    """`jobs.observe.Observation` as a dictionary; None when nothing runs."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        record = self.record
        return {
            "run": str(record.path),
            "job": record.job,
            "state": record.state,
            "wrong": self.wrong,
            "waiting_for": self.waiting_for,
            "roles": record.roles,
            "observation": self.observation,
        }

    def as_text(self) -> str:
        """For people: trouble first."""
        lines = [f"✗ {sentence}" for sentence in self.wrong]
        lines += [f"… waiting for {', '.join(self.waiting_for)}"] if self.waiting_for else []
        return "\n".join([*lines, self._headline(), *self._numbers(), *self._parts()])

    def _headline(self) -> str:
        roles, state = self.record.roles, self.record.state
        until_s = self.now_s if self.record.is_alive else float(roles.get("updated") or self.now_s)
        since = as_duration(until_s - float(roles.get("started") or until_s))
        verb = {"running": "running for", "starting": "starting since", "stopping": "stopping after"}
        how = f"{verb.get(state, f'{state} after')} {since}"
        ago = "" if self.record.is_alive else f", {as_duration(self.now_s - until_s)} ago"
        return f"{self.record.job}: {how}{ago}  ({self.record.path})"

    def _numbers(self) -> Iterator[str]:
        seen = self.observation
        if seen is None:
            return
        seconds = [_number(seen[f"freshness_{p}_ms"], 1000, " s") for p in ("p50", "p99")]
        yield f"freshness   p50 {seconds[0]} · p99 {seconds[1]}"
        for title, key, unit in (
            ("AUC", "auc", ""),
            ("RMSE", "rmse", ""),
            ("events/s", "events_per_s", ""),
            ("lag", "lag_s", " s"),
        ):
            values = " · ".join(f"{name} {_number(value, 1, unit)}" for name, value in seen[key].items())
            if values:
                of = f"  ({seen['label']})" if key in ("auc", "rmse") else ""
                yield f"{title:<12}{values}{of}"
        yield from joiner_lines(seen)

    def _parts(self) -> Iterator[str]:
        for part in self.record.parts:
            since = as_duration(self.now_s - float(part.get("since") or self.now_s))
            restarts = part.get("restarts") or 0
            note = f"  restarted {restarts}×" if restarts else ""
            name, state, address = (part.get(key) or "" for key in ("name", "state", "address"))
            yield f"  {name:<16}{state:<11}{since:>9}  {address}{note}".rstrip()


def joiner_lines(seen: Mapping[str, Any]) -> Iterator[str]:
    """Of an observation: what waits in the joiner, its event time and checkpoints, what became of events."""
    joiner = seen["joiner"]
    waiting = _number(joiner["waiting_requests"], 1, "")
    checkpoint = _number(joiner["checkpoint_age_s"], 1, " s ago")
    yield (
        f"{'joiner':<12}waiting {waiting} ({_number(joiner['waiting_bytes'], 1 << 20, ' MiB')}) · event time "
        f"{_number(joiner['watermark_lag_s'], 1, ' s')} behind · checkpoint {checkpoint}, "
        f"{_number(joiner['checkpoint_bytes'], 1 << 20, ' MiB')}"
    )
    joins = seen["joins"].items()
    counted = (f"{name} {_number(count, 1, '')}" for name, count in joins if count or name in _ALWAYS)
    yield f"{'joins':<12}{' · '.join(counted)}"


def look(record: Record) -> Report:
    """How the run is doing now; takes some 2 s when it runs."""
    is_working = record.state in ("starting", "running")
    observation = _observe(record) if is_working else None
    now_s = time.time()
    wrong = list(_trouble(record, now_s))
    told = (observation or {}).get("alarms", [])
    wrong += told or [sentence for sentence in _broken_parts(record) if is_working]
    waiting = [f"{p.get('name')} ({p.get('state')})" for p in record.parts if p.get("state") in _SOON]
    return Report(record, now_s, wrong, waiting if is_working else [], observation)


def _trouble(record: Record, now_s: float) -> Iterator[str]:
    roles, state = record.roles, record.state
    if state == "failed":
        yield roles.get("error") or f"it failed; the logs are in {record.path / 'logs'}"
    elif state == "lost":
        yield (
            f"its supervisor (process {roles.get('pid')}) is gone without a word, killed perhaps; "
            "`freshet run JOB.yaml --resume` goes on from the last snapshot"
        )
    elif state not in ("stopped",) and now_s - float(roles.get("updated") or 0) > STALE_S:
        age = as_duration(now_s - float(roles.get("updated") or 0))
        yield f"its supervisor has said nothing for {age}: it hangs, or the disk is full"


def _broken_parts(record: Record) -> Iterator[str]:
    for part in record.parts:
        if part.get("state") in _BROKEN:
            why = part.get("error") or f"see {record.path / str(part.get('log') or 'logs')}"
            yield f"{part.get('name')} is {part['state']}: {why}"


def _observe(record: Record) -> dict[str, Any] | None:
    """Two looks at the parts themselves; None when the run's job file can't be read."""
    from jobs.load import load_job
    from jobs.observe import Observer

    try:
        observer = Observer(load_job(record.path / "job.yaml"), record.path)
    except JobError:
        return None
    try:
        observer.observe()
        time.sleep(BETWEEN_LOOKS_S)
        return asdict(observer.observe())
    finally:
        observer.close()


def _number(value: float | None, divisor: float, unit: str) -> str:
    if value is None:
        return "–"
    value /= divisor
    return f"{value:,.0f}{unit}" if abs(value) >= 100 else f"{value:.3g}{unit}"


def as_duration(seconds: float) -> str:
    """Roughly, as people say it."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"
