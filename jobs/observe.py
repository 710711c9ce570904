"""What a running job says of itself, gathered from its parts: for the dashboard, `status` and the live line.

Nothing here raises because a part is down: what can't be known is None, and an alarm says why.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.samples import Sample

from jobs import alarms
from jobs.counters import Counters
from jobs.joiner import GAUGES, WATERMARK, Joiner, joiner_of, watermark_ms
from jobs.scrape import Scraper, read_json, read_samples, total
from jobs.spec import Job
from pipelines.schema import LabelKind
from pipelines.settings import archive_name, joiner_name

JOINS: Final = {
    "matched": "positives",
    "negative": "negatives",
    "sampled_away": "sampled_away",
    "late": "late",
    "duplicate": "duplicates",
    "orphan": "orphans",
    "malformed": "malformed",
    "unused": "unused",
    "correction": "corrections",
    "unlabelled": "unlabelled",
    "pooled": "pooled",
    "rule_error": "rule_errors",
    "left_out": "left_out",
}
"""Outcomes of the join, and the counter `freshet_joiner_…` of each."""
STAGES: Final = ("asked", "actions", "joined", "learnt", "published", "served")
SCORES: Final = {"online": "served", "frozen": "frozen", "best": "best"}
_COUNTERS: Final = {
    "asked": "freshet_traffic_impressions_total",
    "actions": "freshet_traffic_actions_total",
    "learnt": "freshet_trainer_examples_total",
    "published": "freshet_ps_published_rows_total",
    "served": "freshet_replica_items_total",
    "joined": "freshet_joiner_examples",
    "read": "freshet_joiner_impressions",
    **{f"join:{name}": f"freshet_joiner_{counter}" for name, counter in JOINS.items()},
}
_PENDING: Final = "pendingRecords"
_RECORDS: Final = "operator_numRecordsIn"
_SCOPE: Final = "flink_taskmanager_job_task_operator_"
"""What Flink's reporter puts before the metrics of an operator."""
_OF_FLINK: Final = (
    *(name for name in _COUNTERS.values() if "_joiner_" in name),
    *(*GAUGES, WATERMARK, _PENDING, "numRecordsIn"),
)
_WANTED: Final = (
    *("freshet_traffic_", "freshet_trainer_", "freshet_joiner_", "freshet_replica_items"),
    *(
        "freshet_ps_rows",
        "freshet_ps_memory",
        "freshet_ps_published",
        "_p99_",
        "_lag_",
        _PENDING,
        _RECORDS,
        WATERMARK,
    ),
)
_ANSWERS: Final = frozenset({"ps", "trainer", "replica", "traffic"})
"""Roles that have an endpoint of their own."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a job; `dataclasses.asdict` makes it JSON. What is not known is None."""

    at: float
    """Seconds since 1970."""
    freshness_p50_ms: float | None
    freshness_p99_ms: float | None
    """Of the last minute; of several replicas the worst."""
    label: str
    """The first of the job file."""
    auc: dict[str, float | None]
    """Of this label: `online` (as served), `frozen`, `best`; empty when it is a number."""
    rmse: dict[str, float | None]
    """The same when it is a number, else empty."""
    events_per_s: dict[str, float | None]
    """By stage (`STAGES`); `asked` and `served` count items, `published` rows."""
    lag_s: dict[str, float | None]
    """By stage: `joiner`, `trainer`, `ps`, `replica`; of several parts the worst."""
    joins: dict[str, int | None]
    """Outcomes of the join (`JOINS`) so far."""
    joins_per_s: dict[str, float | None]
    joiner: Joiner
    shards: list[dict[str, Any]]
    """`rows`, `memory_bytes`, `lookup_p99_ms`, `up`."""
    parts: list[dict[str, Any]]
    """As in roles.json, with `remedy` and `detail` (what it waits for), null when all is well."""
    alarms: list[str]
    totals: dict[str, int]
    """Events by stage so far."""
    run: dict[str, Any]
    """`job`, `state`, `started`, `updated`, `error` of roles.json; empty without it."""
    traffic: dict[str, Any]
    """RUN/traffic.json; empty without it."""


class Observer:
    """Looks at one job again and again; rates are between its own looks."""

    def __init__(self, job: Job, run_dir: Path) -> None:
        self._job, self._run_dir = job, run_dir
        self._scraper = Scraper()
        self._counters = Counters()
        self._pages = dict(_pages(job))
        self._answered_s: dict[str, float] = {}
        self._flink_name = joiner_name(job.name, job.joiner)
        self._flink_job: dict[str, Any] = {}
        self._event_time = alarms.EventTime(job.joiner.idle_s)
        self._standstill = alarms.Standstill(alarms.stages_of(job), time.monotonic())

    def close(self) -> None:
        """Give its threads back."""
        self._scraper.close()

    def observe(self) -> Observation:
        """Look now; takes at most about 1.5 s."""
        statuses = map(_status_url, self._job.serving.addresses)
        bodies = self._scraper.fetch([*self._pages.values(), *statuses, *self._flink_pages()])
        at = time.time()
        samples = {name: self._own(bodies.get(url)) for name, url in self._pages.items()}
        answers = {name: url in bodies for name, url in self._pages.items()}
        self._count(samples)
        self._find_flink_job(bodies)
        return self._combine(at, samples, answers, bodies)

    def _own(self, body: bytes | None) -> list[Sample]:
        """The samples of a page, without those of the archive: it reads what the joiner wrote."""
        # Flink writes names of jobs with underscores.
        archive = archive_name(self._flink_name).replace("-", "_")
        return [s for s in read_samples(body, _WANTED) if s.labels.get("job_name") != archive]

    def _combine(
        self,
        at: float,
        samples: Mapping[str, list[Sample]],
        answers: Mapping[str, bool],
        bodies: Mapping[str, bytes],
    ) -> Observation:
        statuses = {
            i: read_json(bodies.get(_status_url(a))) for i, a in enumerate(self._job.serving.addresses)
        }
        recent = [s["freshness"]["last_minute"] for s in statuses.values() if "freshness" in s]
        run, traffic = _read_file(self._run_dir / "roles.json"), _read_file(self._run_dir / "traffic.json")
        parts = self._parts(at, run, answers, statuses)
        freshness_p99_ms, lag_s = _worst(r.get("p99_ms") for r in recent), self._lags(samples, statuses)
        checkpoints = read_json(bodies.get(self._checkpoints_url()))
        of_flink = [s for name, found in samples.items() if name.startswith("flink-") for s in found]
        of_replicas = alarms.of_replicas({i: s["updates"] for i, s in statuses.items() if "updates" in s})
        of_stages = (*of_replicas, *self._joiner_alarms(at, of_flink, checkpoints))
        return Observation(
            at=at,
            freshness_p50_ms=_worst(r.get("p50_ms") for r in recent),
            freshness_p99_ms=freshness_p99_ms,
            label=next(iter(self._job.schema_.labels)),
            auc=self._quality(samples, "binary", "freshet_trainer_auc"),
            rmse=self._quality(samples, "number", "freshet_trainer_rmse"),
            events_per_s={stage: self._counters.rate(stage) for stage in STAGES},
            lag_s=lag_s,
            joins={name: self._counted(f"join:{name}") for name in JOINS},
            joins_per_s={name: self._counters.rate(f"join:{name}") for name in JOINS},
            joiner=joiner_of(of_flink, self._flink_job, checkpoints, at),
            shards=[self._shard(i, samples, answers) for i in range(self._job.ps.shards)],
            parts=parts,
            alarms=self._alarms(at, run, traffic, parts, freshness_p99_ms, lag_s, of_stages),
            totals={stage: int(self._counters.total(stage) or 0) for stage in STAGES},
            run={key: run.get(key) for key in ("job", "state", "started", "updated", "error")} if run else {},
            traffic=traffic,
        )

    def _count(self, samples: Mapping[str, list[Sample]]) -> None:
        for endpoint, found in samples.items():
            for name, metric in _COUNTERS.items():
                self._counters.add(endpoint, name, total(found, metric))
            self._counters.add(endpoint, "records", _records_read(found))
        self._counters.tick(time.monotonic())

    def _counted(self, name: str) -> int | None:
        total = self._counters.total(name)
        return None if total is None else int(total)

    def _flink_pages(self) -> list[str]:
        address = self._job.joiner.flink_address
        return [f"http://{address}/jobs/overview", self._checkpoints_url()] if address else []

    def _checkpoints_url(self) -> str:
        # Before the job is known this asks for one that does not exist, which is harmless.
        job_id = self._flink_job.get("jid", "0" * 32)
        return f"http://{self._job.joiner.flink_address}/jobs/{job_id}/checkpoints"

    def _find_flink_job(self, bodies: Mapping[str, bytes]) -> None:
        """The newest of the job's name: after a resume there are older ones."""
        overview = read_json(bodies.get(f"http://{self._job.joiner.flink_address}/jobs/overview"))
        found = [job for job in overview.get("jobs", []) if job.get("name") == self._flink_name]
        if found:
            self._flink_job = max(found, key=lambda job: job.get("start-time", 0))

    def _quality(
        self, samples: Mapping[str, list[Sample]], kind: LabelKind, metric: str
    ) -> dict[str, float | None]:
        label, settings = next(iter(self._job.schema_.labels.items()))
        if settings.kind != kind:
            return {}
        told = [s for name, found in samples.items() if name.startswith("trainer-") for s in found]
        values: dict[str, list[float]] = {of: [] for of in SCORES}
        for sample in told:
            for of, source in SCORES.items():
                labels = {"label": label, "of": source}
                if sample.name == metric and sample.labels == labels:
                    values[of].append(sample.value)
        return {of: sum(each) / len(each) if each else None for of, each in values.items()}

    def _lags(
        self, samples: Mapping[str, list[Sample]], statuses: Mapping[int, dict[str, Any]]
    ) -> dict[str, float | None]:
        return {
            "joiner": self._joiner_lag_s(samples),
            "trainer": _worst(_gauges(samples, "freshet_trainer_lag_seconds")),
            "ps": _worst(_gauges(samples, "freshet_ps_publish_lag_seconds")),
            "replica": _worst(s["updates"].get("lag_s") for s in statuses.values() if "updates" in s),
        }

    def _joiner_lag_s(self, samples: Mapping[str, list[Sample]]) -> float | None:
        """The time it would take to read what waits at the present pace."""
        waiting = [value for value in _gauges(samples, _PENDING) if value >= 0]
        if not waiting:
            return None
        pace = self._counters.rate("records")
        return sum(waiting) / pace if pace else None if sum(waiting) else 0.0

    def _shard(
        self, index: int, samples: Mapping[str, list[Sample]], answers: Mapping[str, bool]
    ) -> dict[str, Any]:
        found = samples.get(f"ps-{index}", [])
        rows, memory = total(found, "freshet_ps_rows"), total(found, "freshet_ps_memory_bytes")
        lookup_s = total(found, "freshet_ps_lookup_p99_seconds")
        return {
            "rows": None if rows is None else int(rows),
            "memory_bytes": None if memory is None else int(memory),
            "lookup_p99_ms": None if lookup_s is None else lookup_s * 1000,
            "up": answers.get(f"ps-{index}", False),
        }

    def _parts(
        self,
        at: float,
        run: Mapping[str, Any],
        answers: Mapping[str, bool],
        statuses: Mapping[int, dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Those of roles.json; without it, those that have an address in the job file."""
        told = run.get("parts") or [
            _remote_part(name, url, answers[name]) for name, url in self._pages.items()
        ]
        parts = [self._judged(at, dict(part), answers, statuses) for part in told if "name" in part]
        if run.get("state") in ("stopping", "stopped"):
            # Parts that were told to stop have stopped: nothing to mend.
            for part in parts:
                part["remedy"] = part["remedy"] if part.get("state") == "failed" else None
        return parts

    def _judged(
        self,
        at: float,
        part: dict[str, Any],
        answers: Mapping[str, bool],
        statuses: Mapping[int, dict[str, Any]],
    ) -> dict[str, Any]:
        name, role = part["name"], part.setdefault("role", "")
        if role not in _ANSWERS or answers.get(name, True) or part.get("state") != "ready":
            self._answered_s[name] = at
        part["silent_s"] = round(at - self._answered_s.setdefault(name, at), 1)
        waiting = statuses.get(part.get("index", 0), {}).get("waiting_for") if role == "replica" else None
        part["detail"] = "; ".join(waiting) if waiting else None
        part["remedy"] = alarms.remedy(part, at)
        return part

    def _alarms(
        self,
        at: float,
        run: Mapping[str, Any],
        traffic: Mapping[str, Any],
        parts: list[dict[str, Any]],
        freshness_p99_ms: float | None,
        lag_s: Mapping[str, float | None],
        of_stages: Iterable[str],
    ) -> list[str]:
        ended = alarms.of_run(run, at) if run else None
        if ended:
            return [ended]
        started = traffic.get("started")
        found = [
            *alarms.of_parts(parts),
            *of_stages,
            self._stuck(traffic, is_explained=any(part["remedy"] for part in parts)),
            alarms.of_freshness(freshness_p99_ms, at - float(started) if started else None, lag_s),
        ]
        return [alarm for alarm in found if alarm]

    def _joiner_alarms(
        self, at: float, samples: Sequence[Sample], checkpoints: Mapping[str, Any]
    ) -> Iterator[str]:
        # Looked at even when another alarm explains it: it has to know how long.
        stands_still = self._event_time.check(
            watermark_ms(samples), self._counters.total("records") or 0.0, time.monotonic()
        )
        if self._flink_job.get("state") == "RUNNING":
            interval_s = self._job.joiner.checkpoint_interval_ms / 1000
            yield from filter(None, (alarms.of_checkpoints(checkpoints, interval_s, at), stands_still))

    def _stuck(self, traffic: Mapping[str, Any], is_explained: bool) -> str | None:
        """The stage that stands still while traffic goes on."""
        now_s = time.monotonic()
        runs = self._job.traffic.kind == "none" or (bool(traffic) and not traffic.get("done"))
        if is_explained or not runs:
            self._standstill.restart(now_s)
            return None
        stuck = self._standstill.check(self._counters.grew_s, now_s)
        if stuck and now_s - self._counters.grew_s.get("join:malformed", -math.inf) < alarms.STILL_S:
            return alarms.all_dead(self._job.kafka.topics.dead_letters)
        error = traffic.get("last_error")
        return f"{stuck} Traffic says: {error}." if stuck and error else stuck


def _pages(job: Job) -> Iterator[tuple[str, str]]:
    """The name of each part that tells metrics, and where."""
    for role, addresses in (
        ("ps", job.ps.metrics_addresses),
        ("trainer", job.trainer.metrics_addresses),
        ("replica", job.serving.addresses),
    ):
        yield from ((f"{role}-{i}", f"http://{address}/metrics") for i, address in enumerate(addresses))
    # Flink tells half a megabyte if it is not asked for what is wanted.
    query = "&".join(f"name[]={_SCOPE}{name}" for name in _OF_FLINK)
    for i, address in enumerate(job.joiner.metrics_addresses):
        yield f"flink-{i}", f"http://{address}/metrics?{query}"
    if job.traffic.metrics_address:
        yield "traffic", f"http://{job.traffic.metrics_address}/metrics"


def _remote_part(name: str, url: str, answers: bool) -> dict[str, Any]:
    role, _, index = name.partition("-")
    return {
        "name": name,
        "role": role,
        "index": int(index or 0),
        "state": "ready" if answers else "unreachable",
        "address": url.split("/")[2],
    }


def _records_read(samples: Sequence[Sample]) -> float | None:
    """Records that Flink's sources have read: of the operators that also tell what waits for them."""
    sources = {s.labels.get("operator_name") for s in samples if s.name.endswith(_PENDING)}
    return total([s for s in samples if s.labels.get("operator_name") in sources], _RECORDS)


def _gauges(samples: Mapping[str, list[Sample]], name: str) -> list[float]:
    return [value for found in samples.values() if (value := total(found, name)) is not None]


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _status_url(address: str) -> str:
    return f"http://{address}/v1/status"


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return read_json(path.read_bytes())
    except OSError:
        return {}
