"""Messages of the topic `updates`: encode, decode, and refuse whatever is not whole (`docs/formats.md`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import crc32c
import numpy as np
from google.protobuf.message import DecodeError

from ps.arrays import Float32, Int64
from ps.router import MAX_SHARDS
from ps.updates_pb2 import DenseReference as DenseReferenceMessage
from ps.updates_pb2 import Position as PositionMessage
from ps.updates_pb2 import TableUpdate, UpdateBatch

MAX_UPDATE_BYTES: Final = 16 << 20
"""A longer message is refused unread; shards write about 512 KiB."""

_CHECKSUM_TAG: Final = bytes([UpdateBatch.CHECKSUM_FIELD_NUMBER << 3 | 5])
_CHECKSUM_BYTES: Final = len(_CHECKSUM_TAG) + 4


class UpdateError(ValueError):
    """A message of `updates` that is damaged or makes no sense; the text says what and where."""


class Sample(NamedTuple):
    """An impression that the shard has learnt from: its place in `examples`, and when the user acted."""

    partition: int
    offset: int
    action_ts_ms: int


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The place of a message in a shard's series; zeros: before the first."""

    epoch: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class DenseReference:
    """The dense tensors of one shard, in a file (`ps.tensor_files`). `version` grows from file to file."""

    url: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Update:
    """One message. Its rows replace the replica's, its deletions follow.

    A cut of the shard is one or more messages in sequence. Its `marks` (partition to next offset),
    `samples` and `complete` come with the last: only then has the replica all rows up to them. `epoch` grows,
    and `sequence` starts at 1 again, when the shard restarts or the broker did not acknowledge. A shard that
    has restarted sends all its rows again; else what follows `after` comes again, and nothing else.
    """

    shard: int
    shards: int
    epoch: int
    sequence: int
    rows: Mapping[str, tuple[Int64, Float32]] = field(default_factory=dict)
    """By table: ids `int64[n]`, embeddings `float32[n, dim]`."""
    deleted: Mapping[str, Int64] = field(default_factory=dict)
    """By table: ids `int64[m]`."""
    marks: Mapping[int, int] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    dense: DenseReference | None = None
    published_ms: int = 0
    life: int = field(kw_only=True)
    """The first epoch since the shard's start."""
    after: Position = field(default=Position(), kw_only=True)
    """The last message that was acknowledged before this epoch began; zeros: none of this life."""
    complete: bool = field(default=False, kw_only=True)
    """All rows that the shard had when this life began are out: what did not come since then is gone."""


def encode(update: Update) -> bytes:
    """The message's bytes, checksum last."""
    batch = UpdateBatch(
        shard=update.shard,
        shards=update.shards,
        epoch=update.epoch,
        sequence=update.sequence,
        tables=_encode_tables(update),
        marks=update.marks,
        published_ms=update.published_ms,
        dense=_encode_dense(update.dense),
        life=update.life,
        after=_encode_position(update.after),
        complete=update.complete,
    )
    for partition, offset, action_ts_ms in update.samples:
        batch.samples.add(partition=partition, offset=offset, action_ts_ms=action_ts_ms)
    body = batch.SerializeToString(deterministic=True)
    return body + _CHECKSUM_TAG + crc32c.crc32c(body).to_bytes(4, "little")


def decode(data: bytes) -> Update:
    """The message; raises UpdateError unless it is whole and sound."""
    _verify_checksum(data)
    batch = UpdateBatch()
    try:
        batch.ParseFromString(data)
    except DecodeError as error:
        raise UpdateError(f"updates: not an UpdateBatch: {error}") from None
    _verify_header(batch)
    return Update(
        shard=batch.shard,
        shards=batch.shards,
        epoch=batch.epoch,
        sequence=batch.sequence,
        rows={t.table: _decode_rows(t) for t in batch.tables if t.ids},
        deleted={t.table: np.frombuffer(t.deleted, "<i8") for t in batch.tables if t.deleted},
        marks=dict(batch.marks),
        samples=tuple(Sample(s.partition, s.offset, s.action_ts_ms) for s in batch.samples),
        dense=_decode_dense(batch.dense) if batch.HasField("dense") else None,
        published_ms=batch.published_ms,
        life=batch.life,
        after=Position(batch.after.epoch, batch.after.sequence),
        complete=batch.complete,
    )


def _encode_tables(update: Update) -> list[TableUpdate]:
    none = np.empty(0, np.int64)
    nothing = (none, np.empty((0, 1), np.float32))
    messages = []
    for name in dict.fromkeys([*update.rows, *update.deleted]):
        ids, rows = update.rows.get(name, nothing)
        messages.append(
            TableUpdate(
                table=name,
                dim=rows.shape[1],
                ids=ids.astype("<i8", copy=False).tobytes(),
                rows=rows.astype("<f4", copy=False).tobytes(),
                deleted=update.deleted.get(name, none).astype("<i8", copy=False).tobytes(),
            )
        )
    return messages


def _encode_dense(dense: DenseReference | None) -> DenseReferenceMessage | None:
    if dense is None:
        return None
    return DenseReferenceMessage(url=dense.url, version=dense.version, sha256=dense.sha256)


def _encode_position(position: Position) -> PositionMessage | None:
    if position == Position():
        return None
    return PositionMessage(epoch=position.epoch, sequence=position.sequence)


def _decode_dense(dense: DenseReferenceMessage) -> DenseReference:
    return DenseReference(dense.url, dense.version, dense.sha256)


def _verify_checksum(data: bytes) -> None:
    if not _CHECKSUM_BYTES < len(data) <= MAX_UPDATE_BYTES:
        raise UpdateError(f"updates: {len(data)} bytes, 6 to {MAX_UPDATE_BYTES} are possible")
    body, tag, stored = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:-4], data[-4:]
    if tag != _CHECKSUM_TAG:
        raise UpdateError("updates: the message does not end with its checksum: cut short?")
    if crc32c.crc32c(body) != int.from_bytes(stored, "little"):
        raise UpdateError("updates: the checksum is wrong: the message was damaged on its way")


def _verify_header(batch: UpdateBatch) -> None:
    if not batch.shard < batch.shards <= MAX_SHARDS:
        raise UpdateError(f"updates: shard {batch.shard} of {batch.shards} can't be")
    where = f"updates of shard {batch.shard}, epoch {batch.epoch}, sequence {batch.sequence}"
    if not (batch.epoch and batch.sequence):
        raise UpdateError(f"{where}: both start at 1")
    _verify_life(batch, where)
    names = [t.table for t in batch.tables]
    if len(set(names)) < len(names):
        raise UpdateError(f"{where}: a table comes twice")
    for table in batch.tables:
        _verify_table(table, where)


def _verify_life(batch: UpdateBatch, where: str) -> None:
    if not 0 < batch.life <= batch.epoch:
        raise UpdateError(f"{where}: the life began at epoch {batch.life}, which can't be")
    after = batch.after
    if batch.HasField("after") and not (batch.life <= after.epoch < batch.epoch and after.sequence):
        raise UpdateError(
            f"{where}: it can't follow epoch {after.epoch}, sequence {after.sequence} of life {batch.life}"
        )


def _verify_table(table: TableUpdate, where: str) -> None:
    where = f"{where}, table {table.table!r}"
    if not table.table:
        raise UpdateError(f"{where}: a table needs a name")
    if len(table.ids) % 8 or len(table.deleted) % 8:
        raise UpdateError(f"{where}: ids are not 8 bytes each")
    n = len(table.ids) // 8
    if len(table.rows) != n * table.dim * 4 or (n and not table.dim):
        raise UpdateError(f"{where}: {len(table.rows)} bytes of rows do not fit {n} ids of dim {table.dim}")


def _decode_rows(table: TableUpdate) -> tuple[Int64, Float32]:
    rows = np.frombuffer(table.rows, "<f4").reshape(-1, table.dim)
    if not np.isfinite(rows).all():
        raise UpdateError(f"updates: table {table.table!r}: a row holds NaN or an infinite value")
    return np.frombuffer(table.ids, "<i8"), rows
