"""How far traffic may run ahead of learning when it goes as fast as it can.

Without a bound a replay at full speed would ask faster than the joiner joins; the scores would then come
from ever older parameters, and the comparison with a model that learns as things happen would be lost. So
the newest request that has come out of the joiner is watched (the `examples` topic, keys only), and what
the trainer has not yet read (its metric). Asking pauses while more than `LIMIT` impressions are under way:
at 800 impressions a second that is 2 seconds, of which the joiner's checkpoint is one.
"""

import asyncio
import time
import uuid

import aiohttp
from confluent_kafka import Consumer, TopicPartition

from jobs.spec import Job
from jobs.topics import partitions_of

LIMIT = 1600
"""Impressions under way at most, while the joiner moves."""
STUCK_S = 2.0
"""When nothing moved for so long the limit is raised by half: some windows hold more than it."""
POLL_S = 0.05
SCRAPE_S = 0.5
BACKLOG = "freshet_trainer_backlog_messages"


class Leash:
    """Follows the `examples` topic and the trainers; `wait` returns when traffic may go on."""

    def __init__(self, job: Job) -> None:
        topic = job.kafka.topics.examples
        self._consumer = Consumer(
            {
                **job.kafka.client,
                "bootstrap.servers": job.kafka.bootstrap,
                "group.id": f"freshet-traffic-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
            }
        )
        partitions = [TopicPartition(topic, number) for number in partitions_of(self._consumer, topic)]
        for partition in partitions:
            # The end as a number: `OFFSET_END` is looked up later, when there may be more.
            partition.offset = self._consumer.get_watermark_offsets(partition, timeout=30)[1]
        self._consumer.assign(partitions)
        self._trainers = [f"http://{address}/metrics" for address in job.trainer.metrics_addresses]
        self._sent: dict[str, int] = {}
        self._sent_impressions = self._joined_impressions = self._backlog = 0
        self._limit = float(LIMIT)
        self._moved_s = self._scraped_s = time.monotonic()

    def sent(self, request_id: str, impressions: int) -> None:
        """A request with so many impressions was written."""
        self._sent_impressions += impressions
        self._sent[request_id] = self._sent_impressions

    @property
    def under_way(self) -> int:
        """Impressions written after the newest request that was joined, and messages not yet learnt."""
        return self._sent_impressions - self._joined_impressions + self._backlog

    async def wait(self, session: aiohttp.ClientSession) -> None:
        """Return as soon as fewer impressions than the limit are under way."""
        await self._look(session)
        while self.under_way > self._limit:
            if time.monotonic() - self._moved_s > STUCK_S:
                self._limit *= 1.5
                self._moved_s = time.monotonic()
            await asyncio.sleep(POLL_S)
            await self._look(session)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        joined = max((self._sent.get(key, 0) for key in self._joined_keys()), default=0)
        if joined > self._joined_impressions:
            self._joined_impressions = joined
            self._moved_s = time.monotonic()
            self._limit = max(LIMIT, 0.99 * self._limit)
            self._sent = {key: at for key, at in self._sent.items() if at > joined}
        if time.monotonic() - self._scraped_s > SCRAPE_S:
            self._scraped_s = time.monotonic()
            self._backlog = sum([await _backlog(session, url) for url in self._trainers])

    def _joined_keys(self) -> list[str]:
        messages = self._consumer.consume(10_000, timeout=0)
        return [message.key().decode() for message in messages if message.error() is None and message.key()]

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()


async def _backlog(session: aiohttp.ClientSession, url: str) -> int:
    """The trainer's unread messages; 0 when it can't be asked: then the joiner's progress alone counts."""
    try:
        async with session.get(url) as response:
            lines = (await response.text()).splitlines()
    except (aiohttp.ClientError, TimeoutError):
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(BACKLOG))
