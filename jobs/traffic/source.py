"""The traffic source: asks serving, logs what was shown with its scores, then how the users reacted.

One loop, block by block: take the visits that are due (`pace`), ask for their scores all at once
(`asking`), write them in event order between the reactions that are due before each (`log`). Only one block
is in flight: every answer comes from the parameters of this moment, and each partition stays in event
order.

How far this runs ahead of learning is bounded: live and timed traffic by their clock, a replay at full
speed by the `leash`, which holds it back while more than 1600 requests are on their way to the trainer,
some 2 s of them.

The comparison model is frozen once: in a replay before the impression at share `freeze_after`; in simulated
traffic after `freeze_after_s` seconds.
"""

import asyncio
import itertools
import logging
import math
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.spec import Job
from jobs.traffic.asking import Asker, Scores
from jobs.traffic.leash import Leash
from jobs.traffic.log import MARGIN_MS, EventLog
from jobs.traffic.pace import Blocks, Clock, FastClock, NoClock, WallClock
from jobs.traffic.paths import BadPathError, KuaiRandFiles, find_files
from jobs.traffic.progress import ProgressFile, TrafficMetrics
from jobs.traffic.ratings import RatingVisits
from jobs.traffic.replay import KuaiRandVisits
from jobs.traffic.simulated import SimulatedVisits
from jobs.traffic.visits import Visit

TICK_S = 0.01
"""Rest between two looks at the clock when nothing is due."""
READY_S = 120.0
LIVE_PATIENCE_S, REPLAY_PATIENCE_S = 1.0, 60.0
"""How long a visit waits for serving: users do not wait, a replay can."""
SKIP_S = 2.0
"""Simulated visitors who would have to wait longer stay away."""
FUTURE_MARGIN_MS = 5000

logger = logging.getLogger(__name__)


@dataclass
class Freezing:
    """When the comparison model is frozen, and when it was."""

    impressions: float = math.inf
    """Before the impression with this number."""
    seconds: float = math.inf
    """Or after so many seconds of traffic."""
    done: dict[str, Any] | None = None
    """What there was when it happened: impressions, event_ms, at (wall clock, s)."""

    def due(self, impressions: int, seconds: float) -> bool:
        """Whether the moment has come."""
        return self.done is None and (impressions >= self.impressions or seconds >= self.seconds)

    def impressions_left(self, impressions: int) -> float:
        """How many impressions may still be written before it; infinite when it is done or set by time."""
        return math.inf if self.done is not None else max(1.0, self.impressions - impressions)


def run_traffic(job: Job, run_dir: Path, *, resume: bool) -> None:
    """Produce the job's traffic until it is complete, or until SIGTERM or SIGINT; then close all windows.

    `resume`: a replay goes on where an earlier source of this run stopped. Raises
    `jobs.traffic.paths.BadPathError` for data that can't be replayed, KafkaException when the broker is lost.
    """
    if job.traffic.kind != "none":
        asyncio.run(_run(job, run_dir, resume))


async def _run(job: Job, run_dir: Path, resume: bool) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    metrics = TrafficMetrics(job.traffic.metrics_address)
    try:
        await Source(job, run_dir, metrics, stopping, resume=resume).run()
    finally:
        metrics.close()


def replay_visits(job: Job) -> KuaiRandVisits | RatingVisits:
    """The visits behind `traffic.path`; raises `jobs.traffic.paths.BadPathError`."""
    files = find_files(job.traffic.path)
    return KuaiRandVisits(job, files) if isinstance(files, KuaiRandFiles) else RatingVisits(job, files)


class Source:
    """One run of traffic; `stopping` ends it early. Raises as `run_traffic` does."""

    def __init__(
        self, job: Job, run_dir: Path, metrics: TrafficMetrics, stopping: asyncio.Event, *, resume: bool
    ) -> None:
        self._job, self._metrics, self._stopping, self._resume = job, metrics, stopping, resume
        self._file = ProgressFile(run_dir)
        self._replay = replay_visits(job) if job.traffic.kind == "replay" else None
        self._simulated = None if self._replay else SimulatedVisits(job, int(time.time() * 1000))
        self._log = EventLog(job)
        self._freezing = self._freezing_of_kind()
        unhurried = self._replay is not None and job.traffic.speed == "max"
        self._leash = Leash(job) if unhurried else None
        patience_s = REPLAY_PATIENCE_S if unhurried else LIVE_PATIENCE_S
        self._asker = Asker(job.serving.addresses, patience_s=patience_s, stopping=stopping)
        self._started_s = time.time()

    def _freezing_of_kind(self) -> Freezing:
        traffic = self._job.traffic
        if self._replay is None:
            return Freezing(seconds=traffic.freeze_after_s)
        share = traffic.freeze_after
        return Freezing(math.ceil(share * self._replay.impressions) if share < 1 else math.inf)

    async def run(self) -> None:
        """Everything from the first question to the last heartbeat."""
        async with self._asker:
            if not await self._asker.wait_until_ready(READY_S) and not self._stopping.is_set():
                logger.warning("serving is not ready after %.0f s: traffic starts without scores", READY_S)
            self._started_s = time.time()
            blocks = self._blocks()
            while not (self._stopping.is_set() or blocks.ended):
                await self._step(blocks)
        self._log.finish(self._latest_ms())
        self._report(done=True, complete=blocks.ended)
        if self._leash:
            self._leash.close()

    def _latest_ms(self) -> int:
        """The furthest time of a heartbeat that the joiner takes."""
        return int((time.time() + self._job.joiner.max_future_s) * 1000) - FUTURE_MARGIN_MS

    def _blocks(self) -> Blocks:
        if self._simulated:
            # An earlier source of this run has closed the windows of what it wrote: they stay closed.
            closed_ms = self._file.read().get("sent_last_ts", 0) + 2 * MARGIN_MS
            self._simulated.clock_ms = max(time.time() * 1000, closed_ms)
            return Blocks(iter(self._simulated), WallClock())
        visits = self._resumed(self._replay or ())
        first = next(visits, None)
        if first is None:
            return Blocks(iter(()), NoClock())
        speed = self._job.traffic.speed
        clock: Clock = NoClock() if speed == "max" else FastClock(first.ts, speed)
        return Blocks(itertools.chain((first,), visits), clock)

    def _resumed(self, replay: Iterable[Visit]) -> Iterator[Visit]:
        """The visits that no earlier source of this run wrote; of the others, the unwritten reactions.

        Some events may be written twice; the joiner knows them again. Raises BadPathError when the earlier
        source replayed something else.
        """
        visits, left = iter(replay), self._file.read() if self._resume else {}
        if left:
            self._refuse_other_data(left)
            log = self._log
            log.requests, log.impressions, log.actions = (
                left["requests"],
                left["impressions"],
                left["actions"],
            )
            log.event_ms, self._freezing.done = left["sent_last_ts"], left["frozen"]
            for visit in itertools.islice(visits, log.requests):
                visit.reactions = [reaction for reaction in visit.reactions if reaction.due >= log.event_ms]
                log.expect(visit)
        return visits

    def _refuse_other_data(self, left: dict[str, Any]) -> None:
        now = {"path": self._job.traffic.path, "impressions_total": self._impressions_total}
        before = {name: left.get(name) for name in now}
        if before != now:
            raise BadPathError(
                "traffic.path: this run replayed {path} with {impressions_total} impressions before; "
                "go on with that, or leave --resume out".format_map(before)
            )

    @property
    def _impressions_total(self) -> int | None:
        return self._replay.impressions if self._replay else None

    async def _step(self, blocks: Blocks) -> None:
        """One block of visits, or a short rest when none is due."""
        await self._freeze_when_due()
        if await self._is_held_back():
            block = []
        else:
            block = blocks.take(self._freezing.impressions_left(self._log.impressions))
        if block:
            answers = await asyncio.gather(*(self._ask(visit) for visit in block))
            for visit, scores in zip(block, answers, strict=True):
                self._log.write(visit, scores)
        else:
            await asyncio.sleep(TICK_S)
        if not math.isinf(reached_ms := blocks.reached_ms):
            self._log.advance(int(reached_ms))
        if self._simulated and blocks.lag_s > SKIP_S:
            self._simulated.clock_ms = time.time() * 1000
        if self._file.due():
            self._metrics.event_time_lag_seconds.set(blocks.lag_s)
            self._log.heartbeat()
            self._report(done=False, complete=False)

    async def _freeze_when_due(self) -> None:
        log = self._log
        if not self._freezing.due(log.impressions, time.time() - self._started_s):
            return
        if await self._asker.freeze():
            self._freezing.done = {
                "impressions": log.impressions,
                "event_ms": log.event_ms,
                "at": time.time(),
            }
            logger.info("the comparison model is frozen after %d impressions", log.impressions)

    async def _ask(self, visit: Visit) -> Scores:
        with self._metrics.request_seconds.time():
            return await self._asker.ask(visit)

    async def _is_held_back(self) -> bool:
        return self._leash is not None and await self._leash.is_short(self._log.written, self._asker.session)

    def _report(self, *, done: bool, complete: bool) -> None:
        """Write traffic.json and the metrics; what the file counts has reached the broker."""
        log = self._log
        log.flush()
        now_s = time.time()
        self._metrics.count(log.requests, log.impressions, log.actions, self._asker.unscored)
        self._file.write(
            {
                "kind": self._job.traffic.kind,
                "path": self._job.traffic.path,
                "requests": log.requests,
                "impressions": log.impressions,
                "impressions_total": self._impressions_total,
                "actions": log.actions,
                "unscored": self._asker.unscored,
                "last_error": self._asker.last_error,
                "sent_last_ts": log.event_ms,
                "started": self._started_s,
                "updated": now_s,
                "impressions_per_s": round(log.impressions / max(now_s - self._started_s, 1e-3), 1),
                "frozen": self._freezing.done,
                "done": done,
                "complete": complete,
            }
        )
