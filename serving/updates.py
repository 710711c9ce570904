"""Follows the topic `updates`: from the stored offsets on, all partitions, in order, into the parameters."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ps.updates import MAX_UPDATE_BYTES, Update, UpdateError, decode
from serving.dense import DenseLoader
from serving.freshness import Freshness
from serving.parameters import Parameters
from serving.progress import ShardProgress, Verdict, follow
from serving.store import StoreError

_POLL_S: Final = 0.2
_SWEEP_PAUSE_S: Final = 0.01
"""Between the steps of a sweep, for answers; one that is not ready yet gives none."""
_RETRY_S: Final = 1.0
_REQUEST_TIMEOUT_S: Final = 5.0
_MESSAGES_PER_BATCH: Final = 32
_log: Final = logging.getLogger(__name__)


class UpdatesConsumer(threading.Thread):
    """Applies updates until it is stopped. Other threads read its attributes."""

    def __init__(
        self,
        *,
        name: str,
        bootstrap: str,
        kafka_client: Mapping[str, str],
        topic: str,
        parameters: Parameters,
        dense: DenseLoader,
        freshness: Freshness,
    ) -> None:
        super().__init__(name="updates", daemon=True)
        self._client = {"bootstrap.servers": bootstrap, **kafka_client}
        self._group = name
        self._topic = topic
        self._parameters = parameters
        self._dense = dense
        self._freshness = freshness
        self._stopping = threading.Event()
        self._consumer: Any = None
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._sweeping = self._is_held = False
        self.caught_up = False
        self.waiting_for = f"topic `{topic}` of the broker at {bootstrap}"
        """What has to happen before it is caught up, in words."""
        self.counts = dict.fromkeys(Verdict, 0)
        self.refused = 0
        self.last_error: str | None = None
        self.backlog_messages = 0
        """Messages that the broker has and that are not applied."""
        self._apply_lag_s = 0.0
        self._in_hand_ms: int | None = None

    def stop(self) -> None:
        """End the thread and close the consumer."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Connect, then apply whatever comes."""
        if self._connect():
            try:
                self._follow()
            finally:
                self._consumer.close()

    def _follow(self) -> None:
        # Only now: what an older log wanted is forgotten by who connects to another.
        for shard, reference in self._parameters.wanted_dense.items():
            self._dense.want(shard, reference)
        from_the_past = not self._parameters.offsets
        while not self._stopping.is_set():
            self._apply(self._poll())
            self._sweep()
            self.backlog_messages = self._backlog()
            if not self.caught_up and self._is_caught_up():
                if from_the_past:
                    self._freshness.skip()
                self.caught_up, self.waiting_for = True, ""

    def lag_s(self) -> float:
        """How far the rows are behind the shards.

        The age of the oldest update that is being written; else, with a backlog, of the newest applied.
        """
        if (in_hand_ms := self._in_hand_ms) is not None:
            return _age_s(in_hand_ms)
        published_ms = max((p.published_ms for p in self._parameters.progress.values()), default=0)
        if not published_ms or not self.backlog_messages:
            return self._apply_lag_s
        return _age_s(published_ms)

    def _connect(self) -> bool:
        """Find the topic and start reading; False when it was stopped before that."""
        while not self._stopping.is_set():
            try:
                self._start_reading()
                return True
            except (KafkaException, StoreError) as error:
                self.last_error = _sentence(error)
                _log.info("waiting for %s: %s", self.waiting_for, self.last_error)
                self._stopping.wait(_RETRY_S)
        return False

    def _start_reading(self) -> None:
        consumer = Consumer(self._consumer_settings())
        try:
            starts = self._starts(consumer)
            consumer.assign(starts)
        except (KafkaException, StoreError):
            consumer.close()
            raise
        self._next = {start.partition: start.offset for start in starts}
        self._consumer, self.last_error = consumer, None

    def _starts(self, consumer: Any) -> list[TopicPartition]:
        """Where to begin to read: the stored offset, or the oldest that the partition still has."""
        found = consumer.list_topics(self._topic, _REQUEST_TIMEOUT_S)
        topic = found.topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        places = [TopicPartition(self._topic, partition) for partition in topic.partitions]
        kept = {p.partition: consumer.get_watermark_offsets(p, _REQUEST_TIMEOUT_S) for p in places}
        self._ends = {partition: end for partition, (_, end) in kept.items()}
        self._parameters.follow_topic(f"{found.cluster_id}/{self._topic}", self._ends)
        for place in places:
            first = kept[place.partition][0]
            place.offset = max(first, self._parameters.offsets.get(place.partition, first))
        return places

    def _consumer_settings(self) -> dict[str, Any]:
        return {
            "group.id": self._group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
            "fetch.message.max.bytes": MAX_UPDATE_BYTES,
            "queued.max.messages.kbytes": 4 * MAX_UPDATE_BYTES >> 10,
            "error_cb": self._complain,
            "log_level": 0,
            **self._client,
        }

    def _complain(self, error: KafkaError) -> None:
        # The client library repeats itself twenty times a second while the broker is away.
        if error.str() != self.last_error:
            _log.warning("kafka: %s", error.str())
        self.last_error = error.str()

    def _poll(self) -> list[Any]:
        """What has come; `poll` first, for `consume` would wait until all of it is there."""
        pause_s = _SWEEP_PAUSE_S if self.caught_up else 0
        first = self._consumer.poll(pause_s if self._sweeping else _POLL_S)
        if first is None:
            return []
        return [first, *self._consumer.consume(_MESSAGES_PER_BATCH - 1, timeout=0)]

    def _apply(self, messages: list[Any]) -> None:
        """Apply `messages`, in one write. A full disk holds it up, and nothing else."""
        if not messages:
            return
        progress: dict[int, ShardProgress] = {}
        offsets = {m.partition(): m.offset() + 1 for m in messages if m.error() is None}
        updates = [update for m in messages if (update := self._judge(m, progress)) is not None]
        self._in_hand_ms = min((update.published_ms for update in updates), default=None)
        if offsets and self._write(updates, progress, offsets):
            self._next |= offsets
            self._tell(updates)
            self._in_hand_ms = None

    def _write(
        self, updates: list[Update], progress: Mapping[int, ShardProgress], offsets: Mapping[int, int]
    ) -> bool:
        """Try until it is written; False when it was stopped before that."""
        while not self._stopping.is_set():
            try:
                self._parameters.apply(updates, progress, offsets)
            except StoreError as error:
                self._hold(error)
            else:
                self._go_on()
                return True
        return False

    def _sweep(self) -> None:
        """Drop a few of the rows that shards have lost, between updates."""
        try:
            self._sweeping = self._parameters.sweep()
        except StoreError as error:
            self._hold(error)
        else:
            self._go_on()

    def _judge(self, message: Any, progress: dict[int, ShardProgress]) -> Update | None:
        """The update, if it is to be applied; `progress` has the shard's new state then."""
        if message.error() is not None:
            self._take_error(message)
            return None
        where = f"updates, partition {message.partition()}, offset {message.offset()}"
        try:
            update = decode(message.value() or b"")
            self._parameters.tables.check(update)
        except UpdateError as error:
            self.refused += 1
            self._report(f"{where}: {error}")
            return None
        before = progress.get(update.shard) or self._parameters.progress.get(update.shard, ShardProgress())
        verdict, after = follow(before, update)
        self.counts[verdict] += 1
        if verdict in (Verdict.REPEAT, Verdict.STALE):
            return None
        if verdict is Verdict.GAP:
            self._report(f"{where}: {after.gap}")
        progress[update.shard] = after
        return update

    def _take_error(self, message: Any) -> None:
        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            self._next[message.partition()] = message.offset()
        else:
            self._report(f"updates, partition {message.partition()}: {error.str()}")

    def _report(self, sentence: str) -> None:
        self.last_error = sentence
        _log.error("%s", sentence)

    def _hold(self, error: StoreError) -> None:
        # Not with every try: the log may well be on the same disk.
        if not self._is_held:
            _log.error("updates are held up: %s", error)
        self._is_held, self.last_error = True, str(error)
        self.backlog_messages = self._backlog()
        self._stopping.wait(_RETRY_S)

    def _go_on(self) -> None:
        if self._is_held:
            _log.warning("updates are written again")
            self._is_held, self.last_error = False, None

    def _tell(self, updates: list[Update]) -> None:
        """Tell the others what is in the rows now."""
        marks = {shard: p.marks for shard, p in self._parameters.progress.items()}
        for update in updates:
            self._freshness.applied(update, marks)
            if update.dense is not None:
                self._dense.want(update.shard, update.dense)
        if updates:
            self._apply_lag_s = _age_s(updates[-1].published_ms)

    def _backlog(self) -> int:
        """As the broker told last. Other threads must not ask: the client lets one in at a time."""
        behind = 0
        for partition, place in self._next.items():
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            behind += max(0, end - place)
        return behind

    def _is_caught_up(self) -> bool:
        """Whether everything is applied that the topic held at the start, and no row that is gone left."""
        behind = sum(max(0, end - self._next[partition]) for partition, end in self._ends.items())
        self.waiting_for = f"{behind} older messages of `{self._topic}` to be applied"
        if self._sweeping and not behind:
            self.waiting_for = "rows to be dropped that shards lost when they started again"
        return not behind and not self._sweeping


def _age_s(at_ms: int) -> float:
    return max(0.0, time.time() - at_ms / 1000)


def _sentence(error: KafkaException | StoreError) -> str:
    return str(error) if isinstance(error, StoreError) else str(error.args[0].str())
