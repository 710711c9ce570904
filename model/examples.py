"""Follows the topic `examples`: committed messages, from the shards' marks on, in batches.

What the topic no longer has is read from the archive, if there is one.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from google.protobuf.message import DecodeError

from model.archive import Archive
from model.batches import Batch, Batcher, Message
from model.history import History
from pipelines.example_pb2 import ExampleList

_POLL_S: Final = 0.05
_MOST: Final = 500
"""Messages taken from the client in one go."""
_REQUEST_TIMEOUT_S: Final = 10.0
_log: Final = logging.getLogger(__name__)

Marks = Callable[[], Sequence[Mapping[int, int]]]


class ExampleSource:
    """A member of the consumer group of a job's trainers. For one thread.

    Where to read is the shards' to say, not the group's: on assignment, and after `rewind`, their marks are
    asked for, and reading starts at the lowest of each partition.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        kafka_client: Mapping[str, str],
        topic: str,
        group: str,
        worker: int,
        marks: Marks,
        archive: Archive | None = None,
    ) -> None:
        """`marks`: what `ps.client.Shards.marks` gives; may raise, then `poll` does.

        `archive`: that of the topic. Without one, a partition that no shard knows begins with what the topic
        has.
        """
        self._topic = topic
        self._marks = marks
        self._history = None if archive is None else History(archive, self._oldest)
        self._batcher = Batcher()
        self._owned: list[int] = []
        self._is_placed = True
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._complaints: set[str] = set()
        self.malformed = 0
        """Messages that are no list of examples."""
        self._consumer = Consumer(
            {
                "group.id": group,
                # A worker that is started again gets its partitions back at once, without a rebalance.
                "group.instance.id": f"{group}-{worker}",
                "session.timeout.ms": 10_000,
                "enable.auto.commit": False,
                # What is no longer there is looked for in the archive, and told.
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "error_cb": self._complain,
                "log_level": 0,
                "bootstrap.servers": bootstrap,
                **kafka_client,
            }
        )
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def poll(self, batch_size: int, max_wait_s: float) -> Batch | None:
        """The next batch: full, or what there is `max_wait_s` after its first message; None: nothing came.

        Raises what `marks` raises, KafkaException when the broker can't be used at all, and OSError when the
        archive can't: then `rewind` has to come first. ValueError: the topic or the archive is another one.
        """
        if not self._is_placed:
            self._place()
        deadline, has_begun = time.monotonic() + _POLL_S, False
        while self._batcher.waiting_examples < batch_size and self._is_placed:
            if (wait_s := deadline - time.monotonic()) <= 0:
                break
            self._read(wait_s)
            if self._batcher.waiting_examples and not has_begun:
                deadline, has_begun = time.monotonic() + max_wait_s, True
        return self._batcher.take(batch_size)

    def rewind(self) -> None:
        """Drop what was read and not learnt; `poll` asks for the marks and starts there again."""
        self._batcher.clear()
        self._is_placed = False

    def backlog(self) -> int:
        """Messages that the broker has and that are in no batch yet, as far as it has told."""
        behind = 0
        for partition in self._owned:
            end, waiting = self._end(partition), self._batcher.waiting_messages(partition)
            behind += waiting + max(0, end - self._next.get(partition, end))
        return behind

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _on_assign(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        # Nothing is read yet: asking the shards may take long, or fail, and this is no place for either.
        consumer.assign([])
        self._owned = [place.partition for place in partitions]
        self.rewind()
        _log.info("partitions %s of %s are ours", self._owned, self._topic)

    def _on_revoke(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        consumer.unassign()
        self._owned = []
        self.rewind()

    def _place(self) -> None:
        """Start every partition at its lowest mark; one that no shard knows, at its beginning."""
        marks = self._marks()
        self._next.clear()
        positions = {p: self._place_one(p, [shard[p] for shard in marks if p in shard]) for p in self._owned}
        gone: dict[int, int] = {}
        if self._history is not None:
            gone = {p: position for p, position in positions.items() if position < self._oldest(p)}
            self._history.begin(gone)
            for partition in gone:
                self._check_archive(partition, self._history.end(partition))
            self._next.update(gone)
        self._follow({p: position for p, position in positions.items() if p not in gone})
        self._is_placed = True

    def _place_one(self, partition: int, marks: Sequence[int]) -> int:
        oldest, self._ends[partition] = self._watermarks(partition)
        position = min(marks, default=oldest if self._history is None else 0)
        if max(marks, default=0) > self._ends[partition]:
            raise ValueError(
                f"the shards have learnt {self._topic}, partition {partition}, up to {max(marks)}, but it "
                f"ends at {self._ends[partition]}: it is not the topic they learnt from; start them without "
                "their snapshots"
            )
        self._batcher.place(partition, position, marks)
        return position

    def _check_archive(self, partition: int, end: int) -> None:
        # Looking at the archive may have taken minutes, while both went on: the topic is asked after it.
        _, self._ends[partition] = self._watermarks(partition)
        if end > self._ends[partition]:
            raise ValueError(
                f"trainer.archive has {self._topic}, partition {partition}, up to {end}, but the topic ends "
                f"at {self._ends[partition]}: it is the archive of another one"
            )

    def _follow(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from the topic, from their positions on, beside those that are already."""
        for partition, position in positions.items():
            oldest = self._oldest(partition)
            if position < oldest:
                _log.warning(
                    "%s, partition %d: the broker no longer has %d to %d, which a shard has not learnt",
                    *(self._topic, partition, position, oldest),
                )
            self._next[partition] = max(oldest, position)
        others = self._history.partitions if self._history else ()
        places = ((p, position) for p, position in self._next.items() if p not in others)
        self._consumer.assign([TopicPartition(self._topic, p, position) for p, position in places])

    def _oldest(self, partition: int) -> int:
        return self._watermarks(partition)[0]

    def _watermarks(self, partition: int) -> tuple[int, int]:
        """The first offset that the topic has, and the one after its last."""
        place = TopicPartition(self._topic, partition)
        first, end = self._consumer.get_watermark_offsets(place, _REQUEST_TIMEOUT_S)
        return first, end

    def _end(self, partition: int) -> int:
        """As far as the broker has told: nothing is asked."""
        if self._history is not None and partition in self._history.partitions:
            return self._ends[partition]
        place = TopicPartition(self._topic, partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        return int(end)

    def _read(self, wait_s: float) -> None:
        """Take what has come; `poll` first, for `consume` would wait until all of it is there."""
        if self._history is not None and self._history.partitions:
            self._read_history(self._history)
            wait_s = 0.0
        first = self._consumer.poll(wait_s)
        if first is not None:
            for message in [first, *self._consumer.consume(_MOST, timeout=0)]:
                self._take(message)

    def _read_history(self, history: History) -> None:
        for message in history.take(_MOST):
            self._batcher.add(message)
            self._next[message.partition] = message.offset + 1
        if ended := history.pop_ended():
            _log.info("%s goes on behind the archive: %s", self._topic, ended)
            self._follow(ended)

    def _complain(self, error: KafkaError) -> None:
        """Say what the client library says twenty times a second while the broker is away, once."""
        if error.str() not in self._complaints:
            self._complaints.add(error.str())
            _log.warning("kafka: %s", error.str())

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is None:
            self._complaints.clear()
            self._batcher.add(self._decode(message))
            self._next[message.partition()] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next[message.partition()] = message.offset()
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            _log.warning("%s, partition %d: %s", self._topic, message.partition(), error.str())
            self.rewind()
        elif error.fatal():
            raise KafkaException(error)
        else:
            _log.warning("%s: %s", self._topic, error.str())

    def _decode(self, message: Any) -> Message:
        try:
            examples = tuple(ExampleList.FromString(message.value() or b"").examples)
        except DecodeError as error:
            self.malformed += 1
            _log.error(
                "%s, partition %d, offset %d is no list of examples: %s",
                *(self._topic, message.partition(), message.offset(), error),
            )
            examples = ()
        return Message(message.partition(), message.offset(), examples)
