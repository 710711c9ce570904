"""Rows on disk: a RocksDB directory that is emptied when it is opened.

    key    id, int64 LE
    value  last update int64 LE, count uint32 LE, row float32[row_floats] LE

It outlives no process, so nothing is logged ahead or waited for: after a crash a shard goes on from its
snapshot.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)
from tenacity import RetryCallState, Retrying, retry_if_exception_message, stop_after_delay, wait_fixed

from ps.arrays import Bools, Int64
from ps.table import Items

_ROWS_PER_PIECE: Final = 16_384
_BLOOM_BITS: Final = 10
"""An id in a hundred that is not there is looked for in vain; most are answered without a read."""
_WRITE_BUFFERS: Final = 3
_PATIENCE_S: Final = 10.0


class DiskError(OSError):
    """Rows can't be read from or written to disk: it is full, or broken."""


class ColdRows:
    """Rows by id. Reads from many threads, changes from one at a time; all of it raises DiskError."""

    def __init__(self, path: Path, row_floats: int, memory_bytes: int) -> None:
        """Begin empty at `path`, whatever there was; not while another process has it.

        Half of `memory_bytes` buffers writes, the other half caches blocks, filters and indexes first.
        """
        self._path = path
        self._is_stuck = False
        self._record = np.dtype(
            [("last_update_ms", "<i8"), ("count", "<u4"), ("values", "<f4", (row_floats,))]
        )
        self._write_options = WriteOptions()
        self._write_options.disable_wal = True
        # While buffers are full a write would wait inside of RocksDB, on a full disk for ever, and all
        # threads of the process with it. So it is refused, and `_write` waits.
        self._write_options.no_slowdown = True
        self._cache = Cache(memory_bytes // 2)
        with self._explained("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Rdict.destroy(str(path))
            self._db = Rdict(str(path), _options(self._cache, memory_bytes // 2))

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of the files, those of rows that were overwritten included."""
        return self._property("rocksdb.total-sst-files-size")

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory in caches, buffers and open files."""
        buffers = self._property("rocksdb.size-all-mem-tables")
        files = self._property("rocksdb.estimate-table-readers-mem")
        return int(self._cache.get_usage()) + buffers + files

    def read(self, ids: Int64) -> tuple[Bools, Items]:
        """Which of `ids` `int64[n]` there are, `bool[n]`, and their rows in this order."""
        with self._explained("read"):
            values = self._db.get(_keys(ids))
        there = np.fromiter((value is not None for value in values), np.bool_, len(ids))
        return there, self._decode(ids[there], [value for value in values if value is not None])

    def contains(self, ids: Int64) -> Bools:
        """Which of `ids` `int64[n]`, however many, there are: `bool[n]`."""
        found = np.empty(len(ids), np.bool_)
        for start in range(0, len(ids), _ROWS_PER_PIECE):
            piece = slice(start, start + _ROWS_PER_PIECE)
            found[piece], _ = self.read(ids[piece])
        return found

    def write(self, rows: Items) -> None:
        """Set rows; all or none."""
        ids, values, last_update_ms, counts = rows
        records = np.empty(len(ids), self._record)
        records["last_update_ms"], records["count"], records["values"] = last_update_ms, counts, values
        data, width = records.tobytes(), self._record.itemsize

        def put(batch: WriteBatch) -> None:
            for i, key in enumerate(_keys(ids)):
                batch[key] = data[i * width : (i + 1) * width]

        self._write(put)

    def remove(self, ids: Int64) -> None:
        """Remove rows, whether they are there or not; all or none."""

        def delete(batch: WriteBatch) -> None:
            for key in _keys(ids):
                del batch[key]

        self._write(delete)

    def cut(self) -> Iterator[Items]:
        """All rows as of now, in pieces that are read when they are asked for."""
        with self._explained("read"):
            pairs = self._db.snapshot().items()
        return self._pieces(iter(pairs))

    def close(self) -> None:
        """Let go of the directory, also when it is full or broken: what is on it outlives nobody."""
        if self._is_stuck:
            # It would flush first, and wait for ever: so this is left to the end of the process.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))
            return
        with suppress(Exception):
            self._db.close()

    def _pieces(self, pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[Items]:
        while True:
            with self._explained("read"):
                piece = list(islice(pairs, _ROWS_PER_PIECE))
            if not piece:
                return
            ids = np.frombuffer(b"".join(key for key, _ in piece), "<i8")
            yield self._decode(ids, [value for _, value in piece])

    def _decode(self, ids: Int64, values: list[bytes]) -> Items:
        records = np.frombuffer(b"".join(values), self._record)
        return (
            ids,
            np.ascontiguousarray(records["values"]),
            np.ascontiguousarray(records["last_update_ms"]),
            np.ascontiguousarray(records["count"]),
        )

    def _write(self, fill: Callable[[WriteBatch], None]) -> None:
        """Write a batch, which each try takes from `fill` anew: RocksDB empties those that it refuses."""
        with self._explained("written"):
            try:
                for attempt in _UNTIL_FLUSHED:
                    with attempt:
                        batch = WriteBatch(raw_mode=True)
                        fill(batch)
                        self._db.write(batch, self._write_options)
            except TimeoutError:
                self._is_stuck = True
                raise

    def _property(self, name: str) -> int:
        return int(self._db.property_int_value(name) or 0)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        # rocksdict raises plain Exception for everything.
        except Exception as error:
            raise DiskError(f"rows on disk in {self._path} can't be {what}: {error}") from error


def _give_up(_: RetryCallState) -> NoReturn:
    raise TimeoutError(f"nothing went there for {_PATIENCE_S:g} s: the disk is full, or far too slow")


_UNTIL_FLUSHED: Final = Retrying(
    retry=retry_if_exception_message(match=".*Write stall"),
    wait=wait_fixed(0.005),
    stop=stop_after_delay(_PATIENCE_S),
    retry_error_callback=_give_up,
)


def _options(cache: Cache, buffer_bytes: int) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_bloom_filter(_BLOOM_BITS, False)
    # Else they would grow with the rows, beyond any limit.
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(blocks)
    options.set_write_buffer_size(buffer_bytes // _WRITE_BUFFERS)
    options.set_max_write_buffer_number(_WRITE_BUFFERS)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    # Float rows hardly shrink, and the processor is for learning.
    options.set_compression_type(DBCompressionType.none())
    return options


def _keys(ids: Int64) -> list[bytes]:
    data = ids.astype("<i8", copy=False).tobytes()
    return [data[i : i + 8] for i in range(0, len(data), 8)]
