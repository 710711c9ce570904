"""What is wrong, in sentences that say what to do: parts that are down, stages that stand still, old data."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from jobs.spec import Job

STILL_S: Final = 15.0
"""A stage that does nothing for so long while the one before it works is stuck."""
START_S: Final = 90.0
"""A part that is not ready after so long is stuck."""
SILENT_S: Final = 5.0
"""A part that does not answer for so long hangs; a file that is replaced each second is old."""
MAX_FRESHNESS_MS: Final = 8000.0
BEHIND_S: Final = 2.0
CHECKPOINT_S: Final = 10.0
"""Checkpoints fail while a part is away; for longer without one, something is wrong."""
OLD_CHECKPOINT_S: Final = 60.0
"""And ten times their interval: no checkpoint that goes well takes so long."""
STANDSTILL_S: Final = 60.0
SLOWEST_TIME: Final = 0.1
"""Seconds of events per second, below which event time stands still."""
_NOTHING_NEW: Final = "Until one succeeds no new example reaches the trainer."
_STARTUP_S: Final = 75.0
"""The last minute's freshness counts once the waiting of the start has left it."""

DOWN: Final = frozenset({"failed", "restarting", "stopped", "unreachable"})

_MEANING: Final = {
    "broker": "Everything else waits for it; a full disk or a port in use are the usual reasons",
    "jobmanager": "Until it is back no checkpoint completes, so nothing new is learnt",
    "taskmanager": "The join waits for it, then goes on from the last checkpoint; nothing is lost",
    "joiner": "Nothing is joined; the exceptions of the job are on Flink's own page",
    "archive": "No files are written; the topic keeps what they lack, and they catch up",
    "ps": "Training waits for it, serving goes on with the rows it has; it returns with its last snapshot",
    "trainer": "Nothing is learnt, serving goes on with the rows it has; it continues at the shards' marks",
    "replica": "Nobody scores what is sent to it; it returns with the rows on its disk and the updates since",
    "traffic": "No new events are written",
    "dashboard": "This page is not updated",
}


def remedy(part: Mapping[str, Any], now_s: float) -> str | None:
    """What a part's state means and what to do about it; None: nothing is wrong with it."""
    state, log = part.get("state"), part.get("log") or "its log, on its own machine"
    meaning = _MEANING.get(str(part.get("role")), "It is not running")
    if state == "restarting":
        return f"{meaning}. It is being started again; if it does not stay up, read {log}."
    if state in ("failed", "stopped"):
        return f"{meaning}. Mend what {log} says, then run again with --resume."
    if state == "unreachable":
        return f"{meaning}. Start it, or correct its address in the job file ({part.get('address')})."
    if state in ("waiting", "starting") and now_s - float(part.get("since") or now_s) > START_S:
        return f"Not ready after {START_S:.0f} s: see what it waits for in {log}."
    if float(part.get("silent_s") or 0.0) > SILENT_S:
        return f"It hangs or is overloaded. If it stays so, end its process: it is started again. Read {log}."
    return None


def of_parts(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One for each part with a remedy, those that explain the others first."""
    order = list(_MEANING)
    for part in sorted(parts, key=lambda p: order.index(p["role"]) if p["role"] in order else len(order)):
        if part.get("remedy"):
            error = f" ({part['error']})" if part.get("error") else ""
            yield f"{part['name']} {_what(part)}{error}. {part['remedy']}"


def _what(part: Mapping[str, Any]) -> str:
    state = str(part.get("state"))
    if state in ("waiting", "starting"):
        return f"is still {state}" + (f": {part['detail']}" if part.get("detail") else "")
    if state == "ready":
        return f"has not answered for {float(part.get('silent_s') or 0):.0f} s"
    return {"failed": "has failed", "restarting": "went down", "stopped": "has stopped"}.get(
        state, f"is {state}"
    )


class Stage(NamedTuple):
    """One stage of the loop: what it counts, what the stage that feeds it counts (None: nothing does)."""

    counts: str
    fed_by: str | None
    patience_s: float
    sentence: str
    log: str


def stages_of(job: Job) -> tuple[Stage, ...]:
    """In the order of the loop; the first that stands still explains the others."""
    windows = [label.window_s for label in job.schema_.labels.values()]
    joined_s = STILL_S + min(windows) + job.joiner.out_of_order_s
    flink = f"http://{job.joiner.flink_address}" if job.joiner.flink_address else "Flink's page"
    asked = (
        Stage("read", None, STILL_S, f"No event has come on topic `{job.kafka.topics.features}`", "")
        if job.traffic.kind == "none"
        else Stage(
            "asked", None, STILL_S, "Traffic has written nothing: is serving ready?", "logs/traffic.log"
        )
    )
    return (
        asked,
        Stage(
            "served", "asked", STILL_S, "Replicas score nothing although traffic runs", "logs/replica-0.log"
        ),
        Stage(
            "read",
            "asked",
            STILL_S,
            f"The joiner reads nothing; its exceptions are at {flink}",
            "logs/joiner.log",
        ),
        Stage(
            "joined",
            "read",
            joined_s,
            f"The joiner joins nothing; its exceptions are at {flink}",
            "logs/joiner.log",
        ),
        Stage(
            "learnt",
            "joined",
            STILL_S,
            "The trainer learns nothing: it waits for a shard, or no checkpoint of Flink succeeds",
            "logs/trainer-0.log",
        ),
        Stage(
            "published",
            "learnt",
            STILL_S + job.sync.interval_s,
            "The shards publish no row: the broker does not take them",
            "logs/ps-0.log",
        ),
    )


class Standstill:
    """Notices a stage that was given work and has not done any of it for long."""

    def __init__(self, stages: Sequence[Stage], now_s: float) -> None:
        self._stages = stages
        self._given_s: dict[Stage, float] = {}
        self._start_s = now_s

    def check(self, grew_s: Mapping[str, float], now_s: float) -> str | None:
        """The first stage that stands still, and what to do; None: all work. Times on one clock."""
        for stage in self._stages:
            done_s = grew_s.get(stage.counts, -math.inf)
            if stage.fed_by is None:
                given_s: float | None = max(done_s, self._start_s)
            else:
                given_s = self._given(stage, grew_s.get(stage.fed_by, -math.inf), done_s)
            if given_s is not None and now_s - given_s >= stage.patience_s:
                log = f" Log: {stage.log}." if stage.log else ""
                return f"Nothing moves: {stage.sentence} (for {now_s - given_s:.0f} s).{log}"
        return None

    def restart(self, now_s: float) -> None:
        """Whatever stands still is explained by something else: begin anew."""
        self._start_s = now_s
        self._given_s = {}

    def _given(self, stage: Stage, fed_s: float, done_s: float) -> float | None:
        """Since when it has had work of which it has done nothing."""
        if self._given_s.get(stage, math.inf) <= done_s:
            del self._given_s[stage]
        if fed_s > max(done_s, self._start_s):
            self._given_s.setdefault(stage, fed_s)
        return self._given_s.get(stage)


def all_dead(topic: str) -> str:
    """Events come, and none of them can be used."""
    return (
        f"Nothing moves: every event that comes is dead. Each record on topic `{topic}` says why, in its "
        "headers `reason` and `detail`; a `ts` in seconds instead of milliseconds is the usual reason."
    )


def of_freshness(
    p99_ms: float | None, traffic_s: float | None, lag_s: Mapping[str, float | None]
) -> str | None:
    """Above what is promised, and which stage it comes from."""
    if p99_ms is None or p99_ms <= MAX_FRESHNESS_MS or (traffic_s is not None and traffic_s < _STARTUP_S):
        return None
    known = {stage: lag for stage, lag in lag_s.items() if lag is not None}
    slowest = max(known, key=lambda stage: known[stage], default=None)
    if slowest is None or known[slowest] < BEHIND_S:
        # A stall of that minute is over, or events came before the joiner did: nothing to be done.
        return None
    cause = f"The {slowest} is furthest behind ({known[slowest]:.1f} s): give it cores, or send less traffic"
    promised_s = MAX_FRESHNESS_MS / 1000
    return f"Freshness p99 of the last minute is {p99_ms / 1000:.1f} s, above {promised_s:.0f} s. {cause}."


def of_replicas(updates: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """Those that serve rows older than is promised, once they had caught up; `updates` of their statuses."""
    for index, told in updates.items():
        lag_s, error = float(told.get("lag_s") or 0.0), told.get("last_error")
        if told.get("caught_up") and lag_s > MAX_FRESHNESS_MS / 1000:
            cause = f"It says: {error}" if error else "Give it cores, or send less traffic"
            yield f"replica-{index} serves rows that are {lag_s:.0f} s behind the shards'. {cause}."


def of_checkpoints(checkpoints: Mapping[str, Any], interval_s: float, now_s: float) -> str | None:
    """Flink's newest checkpoint failed, or is old: what it has joined since does not become visible."""
    latest = checkpoints.get("latest") or {}
    failed, completed = latest.get("failed") or {}, latest.get("completed") or {}
    failed_ms = float(failed.get("failure_timestamp") or 0)
    completed_ms = float(completed.get("latest_ack_timestamp") or 0)
    without_s = now_s - (completed_ms or failed_ms) / 1000
    if failed_ms > completed_ms and without_s >= CHECKPOINT_S:
        why = str(failed.get("failure_message") or "Flink gives no reason").splitlines()[0][:200].rstrip(". ")
        return (
            f"Flink's checkpoints have failed for {without_s:.0f} s: {why}. {_NOTHING_NEW} "
            "See logs/jobmanager.log; a full disk is the usual reason."
        )
    if completed_ms and without_s > OLD_CHECKPOINT_S + 10 * interval_s:
        return (
            f"Flink's newest checkpoint is {without_s:.0f} s old, with one due every {interval_s:g} s: the "
            f"one under way does not end. {_NOTHING_NEW} A slow disk, or a broker that takes no examples, is "
            "the usual reason."
        )
    return None


class EventTime:
    """Notices event time that stands still, or nearly so, although events are read."""

    def __init__(self, idle_s: float) -> None:
        # A partition that is silent may hold it back for `idle_s`, and that is all right.
        self._patience_s = STANDSTILL_S + idle_s
        self._looks: deque[tuple[float, float, float]] = deque()

    def check(self, watermark_ms: float | None, records: float, now_s: float) -> str | None:
        """What is wrong, and what to do; `records` have been read so far. `now_s` never goes back."""
        if watermark_ms is None or (self._looks and watermark_ms < self._looks[-1][1]):
            self._looks.clear()
        if watermark_ms is None:
            return None
        self._looks.append((now_s, watermark_ms, records))
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - self._patience_s:
            self._looks.popleft()
        since_s, before_ms, read_before = self._looks[0]
        # What has just been read has not yet moved it.
        read = next(read for at, _, read in reversed(self._looks) if at <= now_s - SILENT_S or at == since_s)
        passed_s, moved_s = now_s - since_s, (watermark_ms - before_ms) / 1000
        if passed_s < self._patience_s or read <= read_before or moved_s > SLOWEST_TIME * passed_s:
            return None
        return (
            f"Event time stands still: it has moved {moved_s:.0f} s in {passed_s:.0f} s though events are "
            "read, so no window closes and what waits grows. The partition of `features` or `actions` whose "
            "newest `ts` is the oldest holds it back: look for a producer whose clock stands, or send "
            "heartbeats there."
        )


def of_run(run: Mapping[str, Any], now_s: float) -> str | None:
    """The run itself has ended, failed or does not write its state."""
    state, updated = run.get("state"), float(run.get("updated") or now_s)
    if state == "failed":
        return f"The run has failed: {run.get('error') or 'see the logs'}. Start it again with --resume."
    if state == "stopping":
        return "The run is ending: its parts stop one after another."
    if state == "stopped":
        return "The run has ended: what is shown is its last state."
    if now_s - updated > SILENT_S:
        return (
            f"The state of the parts is {now_s - updated:.0f} s old: `freshet run` hangs or was killed. "
            "`freshet stop` ends what it left; then run again with --resume."
        )
    return None
