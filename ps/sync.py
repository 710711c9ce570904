"""From a shard to its replicas: what changed goes to the topic `updates`.

One cut of the shard is one or more messages, sent and acknowledged together. What the broker does not
acknowledge is owed: the next cut takes it along, with its newest values, in a new epoch, which says what it
follows. So a replica knows whether it has missed anything, and need not know what.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaException

from ps.arrays import Float32, Int64
from ps.dense_files import DenseFiles, DenseSchedule
from ps.settings import SyncSettings
from ps.shard import MAX_SAMPLES, Changes, Shard
from ps.snapshot import UpdatesPosition
from ps.updates import DenseReference, Position, Sample, Update, encode

MESSAGE_BYTES: Final = 512 << 10
ACKNOWLEDGE_TIMEOUT_S: Final = 10.0
BACKLOG_ROWS: Final = 100_000
"""Of the rows of a restored table, so many go out with each cut, beside what has changed."""
_MESSAGES_IN_FLIGHT: Final = 64
_log: Final = logging.getLogger(__name__)


class Producer(Protocol):
    """What sends messages: `KafkaProducer`."""

    complaint: str
    """What the client library said about the broker during the last flush."""

    def produce(self, topic: str, *, value: bytes, key: str, on_delivery: Callable[[Any, Any], None]) -> None:
        """Queue a message; `on_delivery(error, message)` is called from `flush`."""

    def flush(self, timeout: float) -> int:
        """Wait until all messages were delivered or have failed; how many are still queued."""


@dataclass(frozen=True, slots=True)
class _Owed:
    """What was taken from the shard and not acknowledged."""

    ids: Mapping[str, Int64] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    since: float | None = None

    @staticmethod
    def all_of(changes: Changes) -> "_Owed":
        ids = {name: ids for name, (ids, _) in changes.rows.items()}
        for name, deleted in changes.deleted.items():
            ids[name] = _union(ids.get(name), deleted)
        return _Owed(ids, changes.samples[-MAX_SAMPLES:], changes.since)


class UpdatePublisher:
    """Publishes what changes in `shard`, in messages of about 512 KiB. Used by one thread at a time."""

    def __init__(
        self,
        shard: Shard,
        producer: Producer,
        topic: str,
        sync: SyncSettings,
        dense_files: DenseFiles,
        epoch: int,
        on_published: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """`epoch`: of the shard's start. `on_published` is told how many rows were acknowledged.

        Rows that are restored go out too.
        """
        self._shard = shard
        self._producer = producer
        self._topic = topic
        self._dense_files = dense_files
        self._schedule = DenseSchedule(sync)
        self._on_published = on_published
        self._life = self._epoch = epoch
        self._sequence = 0
        self._after = Position()
        self._owed = _Owed()
        self._backlog = {name: ids for name, ids in shard.take_touched().items() if len(ids)}
        self.position: UpdatesPosition | None = None

    def lag_s(self) -> float:
        """Age of the oldest change that the broker has not acknowledged; 0: there is none."""
        since = self._owed.since or self._shard.changed_at()
        return time.monotonic() - since if since else 0.0

    def publish(self) -> bool:
        """Publish what has changed, or a sign of life. False: not acknowledged, all of it is owed."""
        changes = self._cut()
        # Whatever happens from here to the acknowledgement, what was taken must not be lost.
        self._owed = _Owed.all_of(changes)
        reference = self._write_dense(changes.dense)
        acknowledged = False
        try:
            acknowledged = self._send(changes, reference)
        finally:
            if not acknowledged:
                self._begin_epoch()
        if not acknowledged:
            return False
        self._owed = _Owed()
        self._shard.acknowledge(changes.deleted)
        if reference is not None:
            self._schedule.published(changes.dense)
        self._on_published(sum(len(ids) for ids, _ in changes.rows.values()))
        return True

    def _begin_epoch(self) -> None:
        self._epoch = max(self._epoch + 1, time.time_ns() // 1_000_000)
        self._sequence = 0
        if self.position:
            self._after = Position(self.position.epoch, self.position.sequence)

    def _cut(self) -> Changes:
        also = dict(self._owed.ids)
        for name, ids in self._backlog_slice().items():
            also[name] = _union(also.get(name), ids)
        changes = self._shard.take_changes(also)
        return replace(
            changes,
            samples=self._owed.samples + changes.samples,
            since=self._owed.since or changes.since,
        )

    def _backlog_slice(self) -> dict[str, Int64]:
        """Take the next rows from the backlog; they go to what is owed in the same breath."""
        room, taken = BACKLOG_ROWS, {}
        for name, ids in list(self._backlog.items()):
            taken[name], self._backlog[name] = ids[:room], ids[room:]
            room -= len(taken[name])
            if not len(self._backlog[name]):
                del self._backlog[name]
        return {name: ids for name, ids in taken.items() if len(ids)}

    def _write_dense(self, dense: Mapping[str, Float32]) -> DenseReference | None:
        if not self._schedule.is_due(dense):
            return None
        try:
            return self._dense_files.write(dense)
        except OSError as error:
            _log.error("dense tensors were not written, rows go out without them: %s", error)
            return None

    def _send(self, changes: Changes, dense: DenseReference | None) -> bool:
        """Send a cut; whether the broker has acknowledged all of it."""
        receipt = _Receipt()
        parts = list(_parts(changes, MESSAGE_BYTES)) or [({}, {})]
        for i, (rows, deleted) in enumerate(parts):
            update = self._next_update(rows, deleted)
            if i == len(parts) - 1:
                update = replace(
                    update,
                    marks=changes.marks,
                    samples=changes.samples,
                    dense=dense,
                    complete=not self._backlog,
                )
            self._produce(update, receipt)
            if (i + 1) % _MESSAGES_IN_FLIGHT == 0 and not self._acknowledged(receipt):
                break
        if not self._acknowledged(receipt):
            why = f"{receipt.error} {self._producer.complaint}".rstrip()
            _log.warning("updates were not acknowledged, they will be sent again: %s", why)
            return False
        self.position = receipt.position(self._epoch, self._sequence)
        return True

    def _next_update(self, rows: Mapping[str, tuple[Int64, Float32]], deleted: Mapping[str, Int64]) -> Update:
        self._sequence += 1
        return Update(
            shard=self._shard.index,
            shards=self._shard.shards,
            epoch=self._epoch,
            sequence=self._sequence,
            rows=rows,
            deleted=deleted,
            published_ms=time.time_ns() // 1_000_000,
            life=self._life,
            after=self._after,
        )

    def _produce(self, update: Update, receipt: "_Receipt") -> None:
        receipt.sent += 1
        try:
            self._producer.produce(
                self._topic, value=encode(update), key=str(update.shard), on_delivery=receipt.take
            )
        except (BufferError, KafkaException) as error:
            receipt.error = str(error) or "the producer's queue is full"

    def _acknowledged(self, receipt: "_Receipt") -> bool:
        try:
            if receipt.error is None and self._producer.flush(ACKNOWLEDGE_TIMEOUT_S):
                receipt.error = f"no answer from the broker within {ACKNOWLEDGE_TIMEOUT_S:g} s"
        except KafkaException as error:
            receipt.error = str(error)
        return receipt.error is None and receipt.acknowledged == receipt.sent


class _Receipt:
    """Counts what the broker acknowledges of one cut; a later cut has its own."""

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0
        self.error: str | None = None
        self._last: Any = None

    def take(self, error: Any, message: Any) -> None:
        """The producer's `on_delivery`."""
        if error is not None:
            self.error = error if isinstance(error, str) else error.str()
        else:
            self.acknowledged += 1
            self._last = message

    def position(self, epoch: int, sequence: int) -> UpdatesPosition:
        """Where the last message lies."""
        return UpdatesPosition(
            epoch=epoch, sequence=sequence, partition=self._last.partition(), offset=self._last.offset()
        )


_Part = tuple[dict[str, tuple[Int64, Float32]], dict[str, Int64]]


def _parts(changes: Changes, limit_bytes: int) -> Iterator[_Part]:
    """The rows and deletions of a cut in parts of at most `limit_bytes`."""
    rows: dict[str, tuple[Int64, Float32]] = {}
    deleted: dict[str, Int64] = {}
    room = limit_bytes
    for name, ids, values in _pieces(changes, limit_bytes):
        size = ids.nbytes + (0 if values is None else values.nbytes)
        if size > room and (rows or deleted):
            yield rows, deleted
            rows, deleted, room = {}, {}, limit_bytes
        if values is None:
            deleted[name] = ids
        else:
            rows[name] = (ids, values)
        room -= size
    if rows or deleted:
        yield rows, deleted


def _pieces(changes: Changes, limit_bytes: int) -> Iterator[tuple[str, Int64, Float32 | None]]:
    """Tables cut into pieces of at most `limit_bytes`: name, ids, rows; None instead of rows: deleted."""
    for name, (ids, values) in changes.rows.items():
        step = max(1, limit_bytes // (8 + 4 * values.shape[1]))
        for start in range(0, len(ids), step):
            yield name, ids[start : start + step], values[start : start + step]
    for name, ids in changes.deleted.items():
        step = limit_bytes // 8
        for start in range(0, len(ids), step):
            yield name, ids[start : start + step], None


def _union(ids: Int64 | None, more: Int64) -> Int64:
    return more if ids is None else np.union1d(ids, more)


class KafkaProducer:
    """A producer that keeps the order, repeats nothing and gives up after `ACKNOWLEDGE_TIMEOUT_S`."""

    def __init__(self, bootstrap: str, client: Mapping[str, str]) -> None:
        """`client`: Kafka properties. Raises KafkaException for one that the client library does not know."""
        self.complaint = ""
        settings = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            # Less than the wait for it, so that a flush ends with every message's fate known.
            "delivery.timeout.ms": int(ACKNOWLEDGE_TIMEOUT_S * 900),
            "linger.ms": 0,
            "compression.type": "lz4",
            "reconnect.backoff.max.ms": 2000,
            # The library's own log repeats itself several times a second; `complaint` says it once a cut.
            "log_level": 0,
            "error_cb": self._complain,
        }
        self._producer = confluent_kafka.Producer(settings | dict(client))

    def produce(self, topic: str, *, value: bytes, key: str, on_delivery: Callable[[Any, Any], None]) -> None:
        """See `Producer`."""
        self._producer.produce(topic, value=value, key=key, on_delivery=on_delivery)

    def flush(self, timeout: float) -> int:
        """See `Producer`."""
        self.complaint = ""
        return int(self._producer.flush(timeout))

    def _complain(self, error: confluent_kafka.KafkaError) -> None:
        self.complaint = self.complaint or error.str()
