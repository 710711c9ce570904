"""The log that traffic writes: requests to `features`, reactions to `actions`, in event order.

Requests are written in the order of their time. A reaction waits here until the log has come to its `due`
time, so that no partition runs ahead and the joiner's small `out_of_order_s` suffices.
"""

import heapq
import itertools
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from jobs.spec import Job
from jobs.topics import partitions_of
from jobs.traffic.visits import Reaction, Visit, action_heartbeat, request_heartbeat

MARGIN_MS = 1000
"""How far the last heartbeats go beyond the end of the last label."""


class EventLog:
    """Writes visits and their reactions to Kafka; not thread-safe.

    Raises KafkaException when the broker can't be reached at the start, and from any method after an event
    could not be delivered for five minutes (librdkafka's `message.timeout.ms`).
    """

    def __init__(self, job: Job) -> None:
        self._topics = job.kafka.topics
        labels = job.schema_.labels.values()
        self._reach_ms = int(1000 * max(label.window_s + label.late_s for label in labels))
        self._settle_ms = self._reach_ms + int(1000 * job.joiner.out_of_order_s) + MARGIN_MS
        self._producer = Producer(
            {
                "linger.ms": 5,
                "compression.type": "lz4",
                **job.kafka.client,
                "bootstrap.servers": job.kafka.bootstrap,
                "enable.idempotence": True,
            }
        )
        self._partitions = {
            topic: partitions_of(self._producer, topic)
            for topic in (self._topics.features, self._topics.actions)
        }
        self._waiting: list[tuple[int, int, str, Reaction]] = []
        # The count keeps reactions of equal time in order, and from being compared.
        self._count = itertools.count()
        self._error: KafkaError | None = None
        self.requests = self.impressions = self.actions = self.heartbeats = 0
        self.event_ms = 0
        """The newest event time written so far, ms."""
        self.written: dict[int, int] = {}
        """The next offset of each partition of `features`, as the broker has acknowledged it."""
        self._reached_ms = 0

    def write(self, visit: Visit, scores: Mapping[Any, Mapping[str, float]]) -> None:
        """Write the reactions due before `visit`, then the request itself; keep its reactions.

        `scores`: by item id what serving answered; empty when it did not.
        """
        self.advance(visit.ts)
        self._produce(self._topics.features, visit.request_id, visit.encode(scores))
        self.requests += 1
        self.impressions += len(visit.items)
        self.event_ms = max(self.event_ms, visit.ts)
        self.expect(visit)

    def expect(self, visit: Visit) -> None:
        """Keep the reactions of a visit whose request is in the log."""
        for reaction in visit.reactions:
            heapq.heappush(self._waiting, (reaction.due, next(self._count), visit.request_id, reaction))

    def advance(self, event_ms: int) -> None:
        """Write every reaction that is due at `event_ms` or before, in the order in which they are due."""
        while self._waiting and self._waiting[0][0] <= event_ms:
            _, _, request_id, reaction = heapq.heappop(self._waiting)
            self._produce(self._topics.actions, request_id, reaction.encode(request_id))
            self.actions += 1
            self.event_ms = max(self.event_ms, reaction.ts)
        self._reached_ms = max(self._reached_ms, event_ms)
        self._producer.poll(0)

    @property
    def waiting(self) -> int:
        """How many reactions are not due yet."""
        return len(self._waiting)

    def heartbeat(self, event_ms: int | None = None) -> None:
        """Tell every partition that event time has come to `event_ms` (None: where the log is).

        Without it a partition that nobody writes to would hold the joiner's watermark back.
        """
        event_ms = self._reached_ms if event_ms is None else event_ms
        self.heartbeats += 1
        request_id = f"heartbeat-{event_ms}-{self.heartbeats}"
        for partition in self._partitions[self._topics.features]:
            value = request_heartbeat(request_id, event_ms)
            self._produce(self._topics.features, request_id, value, partition)
        for partition in self._partitions[self._topics.actions]:
            value = action_heartbeat(request_id, event_ms)
            self._produce(self._topics.actions, request_id, value, partition)

    def finish(self, latest_ms: int | None = None) -> None:
        """Write what is due within reach of the last event's labels, then move event time past all of them.

        `latest_ms` bounds the heartbeats: the joiner refuses what is too far ahead of its clock.
        """
        self.advance(self.event_ms + self._reach_ms)
        self.flush()
        settled_ms = self.event_ms + self._settle_ms
        if latest_ms is not None:
            settled_ms = min(settled_ms, latest_ms)
        # The second round is for a reader that takes the watermark from the record before.
        for round_ms in (settled_ms, settled_ms + 1):
            self.heartbeat(round_ms)
            self.flush()

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until the broker has everything; raises KafkaException when it has not after `timeout_s`."""
        if self._producer.flush(timeout_s):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self._check()

    def _produce(self, topic: str, key: str, value: bytes, partition: int = -1) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.1)
                self._check()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._error = error
        elif message.topic() == self._topics.features:
            self.written[message.partition()] = message.offset() + 1

    def _check(self) -> None:
        if self._error is not None:
            raise KafkaException(self._error)
