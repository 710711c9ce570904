"""What a replica keeps on disk: rows, dense tensors, and how far it has read, in RocksDB.

Whatever belongs together is written in one batch, so after a crash the rows are exactly those of the stored
offsets. Writes do not wait for the disk: a killed process loses nothing, and a machine that lost power finds
an earlier state that is whole, and reads on from there.

    key                                   value
    r TABLE NUL ID(int64 LE)              life of its shard in which it came, uint64 LE; float32[dim] LE
    o PARTITION                           next offset of `updates`, decimal
    s SHARD                               JSON: life, epoch, sequence, published_ms, marks, whole, gap,
                                          complete, shards
    w SHARD                               JSON: the dense reference that was read last
    d SHARD                               JSON: the dense reference whose tensors follow, and their shapes
    t SHARD NAME                          float32 LE, flat
    i                                     JSON: whose state this is
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from rocksdict import AccessType, Checkpoint, DbClosedError, DBCompressionType, Options, Rdict, WriteBatch

from ps.arrays import Float32, Int64
from ps.updates import DenseReference, Position, Update
from serving.progress import ShardProgress

_ROWS_PER_BATCH: Final = 16_384
_LIFE_BYTES: Final = 8
_WRITE_BUFFER_BYTES: Final = 16 << 20
_log: Final = logging.getLogger(__name__)


class StoreError(Exception):
    """The store can't be opened, read or written; the text says why."""


@dataclass(frozen=True, slots=True)
class DenseFile:
    """The dense tensors of one shard, and the reference they were read by."""

    reference: DenseReference
    tensors: Mapping[str, Float32]


class StoredRows(NamedTuple):
    """Some rows of one table."""

    table: str
    ids: Int64
    """`int64[n]`"""
    lives: npt.NDArray[np.uint64]
    """`uint64[n]`: in which life of its shard each came."""
    rows: Float32
    """`float32[n, dim]`"""
    end: bytes
    """The place behind them, for `Store.rows`."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the store holds beside the rows."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    offsets: Mapping[int, int] = field(default_factory=dict)
    """Partition of `updates` to the next offset to read."""
    progress: Mapping[int, ShardProgress] = field(default_factory=dict)
    wanted: Mapping[int, DenseReference] = field(default_factory=dict)
    dense: Mapping[int, DenseFile] = field(default_factory=dict)


class Store:
    """One RocksDB directory, for one thread at a time. A failed write (a full disk) is mended by the next."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open, or make, the store at `path`; raises StoreError, for one when another process has it."""
        self._path = path
        self._read_only = read_only
        self._has_failed = False
        self._db = self._open()

    def contents(self) -> Contents:
        """Everything but the rows."""
        return Contents(
            identity=self._json(b"i") or {},
            offsets={int(key): int(value) for key, value in self._under(b"o")},
            progress={int(key): _decode_progress(value) for key, value in self._under(b"s")},
            wanted={int(key): _decode_reference(orjson.loads(value)) for key, value in self._under(b"w")},
            dense={int(key): self._dense(int(key), orjson.loads(value)) for key, value in self._under(b"d")},
        )

    def rows(self, begin: bytes = b"", most: int = _ROWS_PER_BATCH) -> Iterator[StoredRows]:
        """All rows from `begin` on, up to `most` at a time."""
        self._mend()
        for table, pairs in groupby(self._under(b"r", begin), key=lambda pair: pair[0][:-9]):
            while piece := list(islice(pairs, most)):
                ids = np.frombuffer(b"".join(key[-8:] for key, _ in piece), "<i8")
                values = np.frombuffer(b"".join(value for _, value in piece), _row_type(len(piece[0][1])))
                yield StoredRows(table.decode(), ids, values["life"], values["row"], piece[-1][0] + b"\0")

    def remove(self, table: str, ids: Int64) -> None:
        """Remove rows of one table: `int64[n]`."""
        batch = WriteBatch(raw_mode=True)
        for key in _row_keys(table, ids):
            del batch[key]
        self._write(batch)

    def write(
        self, updates: Iterable[Update], progress: Mapping[int, ShardProgress], offsets: Mapping[int, int]
    ) -> None:
        """Write `updates`, what the shards have come to, and where to read on: all or nothing."""
        batch = WriteBatch(raw_mode=True)
        for update in updates:
            _put_update(batch, update)
        for shard, state in progress.items():
            batch[b"s%d" % shard] = orjson.dumps(asdict(state), option=orjson.OPT_NON_STR_KEYS)
        for partition, offset in offsets.items():
            batch[b"o%d" % partition] = b"%d" % offset
        self._write(batch)

    def write_dense(self, shard: int, file: DenseFile) -> None:
        """Keep the tensors of one shard in place of those before."""
        self._mend()
        batch = WriteBatch(raw_mode=True)
        for key, _ in self._under(b"t%d " % shard):
            del batch[b"t%d " % shard + key]
        for name, tensor in file.tensors.items():
            batch[_tensor_key(shard, name)] = tensor.astype("<f4", copy=False).tobytes()
        shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
        batch[b"d%d" % shard] = orjson.dumps({**asdict(file.reference), "shapes": shapes})
        self._write(batch)

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Empty the store and write whose state it is from now on."""
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(b"", b"\xff")
        batch[b"i"] = orjson.dumps(identity)
        self._write(batch)

    def identify(self, identity: Mapping[str, Any]) -> None:
        """Write whose state this is."""
        batch = WriteBatch(raw_mode=True)
        batch[b"i"] = orjson.dumps(identity)
        self._write(batch)

    def checkpoint(self, path: Path) -> None:
        """Make a store at `path`, which must not be there, with what this one holds now."""
        self._mend()
        try:
            path.parent.mkdir(exist_ok=True)
            Checkpoint(self._db).create_checkpoint(str(path))
        except Exception as error:
            self._has_failed = True
            raise StoreError(f"{path}: {error}") from error

    def reopen(self) -> None:
        """Close and open again; raises StoreError, and then every use tries it until it succeeds."""
        self._has_failed = True
        self.close()
        self._db = self._open()
        self._has_failed = False

    def close(self) -> None:
        """Let go of the directory."""
        try:
            self._db.close()
        except DbClosedError:
            pass
        # It first flushes what its log has, too, and a full disk refuses that; then it lets go all the same.
        except Exception as error:
            _log.warning("%s was closed with its newest rows only in its log: %s", self._path, error)

    def _open(self) -> Rdict:
        access = AccessType.read_only(False) if self._read_only else AccessType.read_write()
        try:
            if not self._read_only:
                self._path.mkdir(parents=True, exist_ok=True)
            # Every open that a full disk refuses leaves one more; only one that succeeds clears them.
            for log in self._path.glob("LOG.old.*") if self._has_failed else ():
                log.unlink()
            return Rdict(str(self._path), _options(), access_type=access)
        # rocksdict raises plain Exception for everything.
        except Exception as error:
            raise StoreError(f"the replica's state in {self._path} can't be opened: {error}") from error

    def _mend(self) -> None:
        """Open again after a failed write, for RocksDB refuses all others."""
        if self._has_failed:
            self.reopen()

    def _write(self, batch: WriteBatch) -> None:
        self._mend()
        try:
            self._db.write(batch)
        except Exception as error:
            self._has_failed = True
            raise StoreError(f"the replica's state in {self._path} can't be written: {error}") from error

    def _under(self, prefix: bytes, begin: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys that start with `prefix`, without it, and their values; `begin`: from this one on."""
        try:
            for key, value in self._db.items(from_key=prefix + begin):
                if not key.startswith(prefix):
                    return
                yield key[len(prefix) :], value
        except Exception as error:
            raise StoreError(f"the replica's state in {self._path} can't be read: {error}") from error

    def _json(self, key: bytes) -> Any:
        value = self._db.get(key)
        return None if value is None else orjson.loads(value)

    def _dense(self, shard: int, header: dict[str, Any]) -> DenseFile:
        tensors = {
            name: np.frombuffer(self._db[_tensor_key(shard, name)], "<f4").reshape(shape)
            for name, shape in header.pop("shapes").items()
        }
        return DenseFile(_decode_reference(header), tensors)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    # Float rows hardly shrink, and the processor is for answers.
    options.set_compression_type(DBCompressionType.none())
    return options


def _put_update(batch: WriteBatch, update: Update) -> None:
    for table, (ids, rows) in update.rows.items():
        width = _LIFE_BYTES + 4 * rows.shape[1]
        values = np.empty(len(ids), _row_type(width))
        values["life"], values["row"] = update.life, rows
        data = values.tobytes()
        for i, key in enumerate(_row_keys(table, ids)):
            batch[key] = data[i * width : (i + 1) * width]
    for table, ids in update.deleted.items():
        for key in _row_keys(table, ids):
            del batch[key]
    if update.dense is not None:
        batch[b"w%d" % update.shard] = orjson.dumps(update.dense)


def _row_type(width: int) -> np.dtype[np.void]:
    """A stored row of `width` bytes."""
    return np.dtype([("life", "<u8"), ("row", "<f4", ((width - _LIFE_BYTES) // 4,))])


def _row_keys(table: str, ids: Int64) -> Iterator[bytes]:
    prefix, data = b"r" + table.encode() + b"\0", ids.astype("<i8", copy=False).tobytes()
    return (prefix + data[i : i + 8] for i in range(0, len(data), 8))


def _tensor_key(shard: int, name: str) -> bytes:
    return b"t%d " % shard + name.encode()


def _decode_progress(value: bytes) -> ShardProgress:
    state = orjson.loads(value)
    state["marks"] = {int(partition): offset for partition, offset in state["marks"].items()}
    return ShardProgress(**state | {"whole": Position(**state["whole"])})


def _decode_reference(value: dict[str, Any]) -> DenseReference:
    return DenseReference(url=value["url"], version=value["version"], sha256=value["sha256"])
