"""How far traffic may run ahead of learning when it goes as fast as it can.

Without a bound a replay at full speed would ask faster than the joiner joins; the scores would then come
from ever older parameters, and the comparison with a model that learns as things happen would be lost. So
what the joiner has done with (its committed offsets; examples become visible in the same moment) and what
the trainers have not read yet (their metric) are watched. Asking pauses while more than `LIMIT_PER_S`
requests per second of the joiner's checkpoint interval are under way: at 800 requests a second these are 2
seconds of them.
"""

import asyncio
import time
from collections.abc import Mapping

import aiohttp

from jobs.spec import Job
from jobs.topics import JoinerOffsets

LIMIT_PER_S = 1600
"""Requests under way at most, per second of the checkpoint interval, of which a second at least."""
POLL_S = 0.05
SCRAPE_S = 0.5
STUCK_S = 60.0
"""A joiner that has not moved for so long holds nobody back any more: it will have to catch up."""
BACKLOG = "freshet_trainer_backlog_messages"


class Leash:
    """Compares what was written with what was joined and learnt; `is_short` says that traffic must wait."""

    def __init__(self, job: Job) -> None:
        self._joiner = JoinerOffsets(job, job.kafka.topics.features)
        self._trainers = [f"http://{address}/metrics" for address in job.trainer.metrics_addresses]
        self._limit = LIMIT_PER_S * max(1.0, job.joiner.checkpoint_interval_ms / 1000)
        self._joined: dict[int, int] = {}
        self._backlog = 0
        self._moved_s = time.monotonic()
        self._scraped_s = self._looked_s = 0.0

    def under_way(self, written: Mapping[int, int]) -> int:
        """Requests `written` (next offset by partition) but not joined, and messages not learnt."""
        waiting = sum(max(0, end - self._joined.get(partition, 0)) for partition, end in written.items())
        return waiting + self._backlog

    async def is_short(self, written: Mapping[int, int], session: aiohttp.ClientSession) -> bool:
        """Whether too much is under way; looks at the joiner and the trainers from time to time."""
        await self._look(session)
        is_stuck = time.monotonic() - self._moved_s > STUCK_S
        return self.under_way(written) > self._limit and not is_stuck

    async def _look(self, session: aiohttp.ClientSession) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= POLL_S:
            self._looked_s = now_s
            joined = await asyncio.to_thread(self._joiner.read)
            if joined != self._joined:
                self._joined, self._moved_s = joined, time.monotonic()
        if now_s - self._scraped_s > SCRAPE_S:
            self._scraped_s = now_s
            self._backlog = sum([await _backlog(session, url) for url in self._trainers])

    def close(self) -> None:
        """Let go of the broker."""
        self._joiner.close()


async def _backlog(session: aiohttp.ClientSession, url: str) -> int:
    """The trainer's unread messages; 0 when it can't be asked: then the joiner's progress alone counts."""
    try:
        async with session.get(url) as response:
            lines = (await response.text()).splitlines()
    except (aiohttp.ClientError, TimeoutError):
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(BACKLOG))
