"""Whether a run has done with everything: joined, every window closed, and learnt."""

import time

from confluent_kafka import KafkaException

from jobs.spec import Job
from jobs.topics import LOOK_S, JoinerOffsets, ends_at
from ps.client import ShardError, Shards

_RECONNECT_S = 2.0


class Drain:
    """Watches the joiner's offsets and the shards' marks; nothing is counted that could be counted wrong.

    It looks from the thread that also starts again what died: no look takes long.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._read: dict[str, JoinerOffsets] = {}
        self._shards = Shards(job.ps.addresses, reconnect_s=_RECONNECT_S)
        # Windows close when event time has moved on, and what they yield is committed one checkpoint later.
        self._settle_s = 3 * job.joiner.checkpoint_interval_ms / 1000
        self._marks: list[dict[int, int]] = []
        self._settled_s = time.monotonic()

    def is_done(self) -> bool:
        """Whether nothing is left to join or to learn, and nothing new has come for a few checkpoints."""
        try:
            # A backfill that has finished is joined.
            is_settled = (self._job.joiner.input is not None or self._is_joined()) and self._is_learnt()
        except (KafkaException, ShardError):
            is_settled = False
        if not is_settled:
            self._settled_s = time.monotonic()
        return time.monotonic() - self._settled_s > self._settle_s

    def _is_joined(self) -> bool:
        topics = self._job.kafka.topics
        for topic in (topics.features, topics.actions):
            if topic not in self._read:
                self._read[topic] = JoinerOffsets(self._job, topic, LOOK_S)
        return all(ends_at(self._job, topic, offsets.read()) for topic, offsets in self._read.items())

    def _is_learnt(self) -> bool:
        marks = self._shards.marks()
        has_moved, self._marks = marks != self._marks, marks
        examples = self._job.kafka.topics.examples
        return not has_moved and all(ends_at(self._job, examples, of_shard) for of_shard in marks)

    def close(self) -> None:
        """Let go of broker and shards."""
        for offsets in self._read.values():
            offsets.close()
        self._shards.close()
