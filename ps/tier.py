"""A table of which only a part is in memory: the rows whose update is longest ago lie on disk.

**A row is where it was moved last.** If memory has it, that is the row, and what the disk may have of it is
old; else the disk's is. So a row comes back by a copy, and goes by a write to disk and then a removal from
memory: a reader that looks in memory first and on disk after finds it wherever it is, and waits for nobody.

**Rows come back to learn,** not to be read: a lookup moves nothing, and so need not wait. The push that
follows it reads a row once more; that is the price.

**Room is made first.** Before rows come in, others go, the oldest of a 64th of the rows at a time. So the
limit holds at any moment, and no value shows any of it.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from ps import _core
from ps.arrays import Bools, Float32, Int64, Uint32, check_array
from ps.bounds import BoundsState, Policy, has_bounds, removable
from ps.cold_rows import ColdRows
from ps.push import is_sane
from ps.settings import LEAST_MEMORY_BYTES, TableSettings
from ps.table import CUT_CHUNK_BYTES, SEGMENTS, EmbeddingTable, Items

_COLD_SHARE: Final = 4
"""One in so many bytes of the limit is for buffers, caches and filters of the rows on disk."""
_PIECES: Final = 4
"""A batch is worked on in pieces of at most one in so many of the rows in memory."""
_SLICES_OF_SEGMENT: Final = 32
_LOOSE_IDS: Final = 1 << 16

_META_BYTES: Final = 12
_MAP_BYTES: Final = 28
"""Of a row at the lowest load."""
_SLABS_IN_PART_BYTES: Final = 16 << 20
"""One of each segment."""
_FIXED_BYTES: Final = 6 << 20
_UNEVEN: Final = 15 / 16
"""A segment may have more rows than others for a while, and keeps their memory."""


def rows_in(memory_bytes: int, row_floats: int) -> int:
    """Rows of `row_floats` floats that never take more than `memory_bytes` in a native table.

    Beside its floats a row has metadata and slots of the map. Slabs that are used in part take as much as the
    rows again, 16 MiB at most; the metadata of rows shorter than it lies further apart than that.
    """
    row_bytes = 4 * row_floats
    apart_bytes = max(0, _SLABS_IN_PART_BYTES * _META_BYTES // row_bytes - _SLABS_IN_PART_BYTES)
    room = memory_bytes - _FIXED_BYTES - apart_bytes
    few = min(room // (2 * row_bytes + _META_BYTES + _MAP_BYTES), _SLABS_IN_PART_BYTES // row_bytes)
    many = (room - _SLABS_IN_PART_BYTES) // (row_bytes + _META_BYTES + _MAP_BYTES)
    return int(_UNEVEN * max(few, many))


class TieredTable:
    """`ps.table.EmbeddingTable` with a limit on memory: the methods a shard needs, same values, same errors.

    Thread-safe; lookups never wait for changes. What needs the disk raises `ps.cold_rows.DiskError` when that
    fails: no row is lost then, and a batch may have been done in part.
    """

    def __init__(
        self,
        settings: TableSettings,
        seed: int,
        path: Path,
        memory_bytes: int,
        *,
        hot_rows: int | None = None,
        threads: int = 1,
    ) -> None:
        """Make an empty table; `path` is emptied, and its files are of no use to anybody else.

        `hot_rows`: how many rows memory holds; None: as many as fit into `memory_bytes`. Raises ValueError
        when that is less than `LEAST_MEMORY_BYTES`, DiskError when `path` can't be opened.
        """
        if memory_bytes < LEAST_MEMORY_BYTES:
            raise ValueError(
                f"disk.memory_bytes: a shard's part of a table needs {LEAST_MEMORY_BYTES} or more"
            )
        self._hot = EmbeddingTable(settings, seed, threads=threads)
        self._refuses = settings.optimizer.bad_gradients == "refuse"
        cold_bytes = memory_bytes // _COLD_SHARE
        self._cold = ColdRows(path, self._hot.row_floats, cold_bytes)
        self.hot_rows = hot_rows or rows_in(memory_bytes - cold_bytes, self._hot.row_floats)
        self._segment = 0
        self._changes = threading.Lock()
        self._reads_disk = False
        self._touched = _TouchedIds()
        self.dim = settings.dim
        self.rows_on_disk = self.promoted_rows = self.demoted_rows = 0

    @property
    def row_floats(self) -> int:
        """See `EmbeddingTable.row_floats`."""
        return self._hot.row_floats

    @property
    def skipped_rows(self) -> int:
        """See `EmbeddingTable.skipped_rows`."""
        return self._hot.skipped_rows

    @property
    def clipped_rows(self) -> int:
        """See `EmbeddingTable.clipped_rows`."""
        return self._hot.clipped_rows

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory; the list of touched ids is not among them."""
        return self._hot.memory_bytes + self._cold.memory_bytes

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of files, old copies of rows included."""
        return self._cold.bytes_on_disk

    def __len__(self) -> int:
        """Rows in memory and on disk."""
        with self._changes:
            return len(self._hot) + self.rows_on_disk

    def lookup(self, ids: Int64, out: Float32 | None = None) -> Float32:
        """See `EmbeddingTable.lookup`; what is not in memory is read from disk, and stays there."""
        return self.find(ids, out)[0]

    def find(self, ids: Int64, out: Float32 | None = None) -> tuple[Float32, Bools]:
        """See `EmbeddingTable.find`."""
        out, found = self._hot.find(ids, out)
        missing = self._missing(found)
        if len(missing):
            found[missing], (_, rows, _, _) = self._cold.read(ids[missing])
            out[missing[found[missing]]] = rows[:, : self.dim]
        return out, found

    def contains(self, ids: Int64) -> Bools:
        """See `EmbeddingTable.contains`."""
        found = self._hot.contains(ids)
        missing = self._missing(found)
        if len(missing):
            found[missing], _ = self._cold.read(ids[missing])
        return found

    def apply_gradients(self, ids: Int64, grads: Float32, ts_ms: int = 0, step: int = 0) -> None:
        """See `EmbeddingTable.apply_gradients`."""
        check_array(ids, "ids", np.int64, (None,))
        check_array(grads, "grads", np.float32, (len(ids), self.dim))
        if len(ids) > self._piece_rows:
            # A batch in pieces must not be refused after the first of them.
            if self._refuses and not is_sane(grads):
                raise ValueError("a gradient is NaN, infinite or beyond 1e+12")
            ids, grads = _sum_repeats(ids, grads)
        with self._changes:
            for piece in self._pieces(len(ids)):
                self._bring(ids[piece])
                self._hot.apply_gradients(ids[piece], grads[piece], ts_ms, step)

    def assign(self, ids: Int64, rows: Float32, ts_ms: int | Int64 = 0, counts: Uint32 | None = None) -> None:
        """See `EmbeddingTable.assign`."""
        check_array(ids, "ids", np.int64, (None,))
        width = self.row_floats if np.shape(rows)[1:] == (self.row_floats,) else self.dim
        check_array(rows, "rows", np.float32, (len(ids), width))
        if not np.isfinite(rows).all():
            raise ValueError("a row holds NaN or an infinite value")
        times = ts_ms if isinstance(ts_ms, np.ndarray) else np.full(len(ids), ts_ms, np.int64)
        check_array(times, "ts_ms", np.int64, (len(ids),))
        if counts is not None:
            check_array(counts, "counts", np.uint32, (len(ids),))
        with self._changes:
            for piece in self._pieces(len(ids)):
                self._bring(ids[piece])
                some_counts = None if counts is None else counts[piece]
                self._hot.assign(ids[piece], rows[piece], times[piece], some_counts)

    def remove(self, ids: Int64) -> int:
        """See `EmbeddingTable.remove`."""
        check_array(ids, "ids", np.int64, (None,))
        removed = 0
        with self._changes:
            for piece in self._pieces(len(ids)):
                self._bring(ids[piece])
                if self._reads_disk:
                    # Before the row goes from memory: else the old copy would be found.
                    self._cold.remove(ids[piece])
                removed += self._hot.remove(ids[piece])
        return removed

    def items(self) -> Items:
        """See `EmbeddingTable.items`: all of it, in memory."""
        none = self._hot.oldest(0, 0)
        ids, rows, last_update_ms, counts = zip(none, *self.cut(), strict=True)
        return (
            np.concatenate(ids),
            np.concatenate(rows),
            np.concatenate(last_update_ms),
            np.concatenate(counts),
        )

    def cut(self, chunk_bytes: int = CUT_CHUNK_BYTES) -> Iterator[Items]:
        """See `EmbeddingTable.cut`; rows on disk come last, read when they are asked for."""
        with self._changes:
            hot, cold = self._hot.cut(chunk_bytes), self._cold.cut()
        return _one_after_the_other(hot, cold)

    def touched(self, clear: bool = True) -> Int64:
        """See `EmbeddingTable.touched`."""
        with self._changes:
            self._touched.add(self._hot.touched())
            return self._touched.take(clear)

    def bounds_counts(self) -> _core.BoundsCounts:
        """See `EmbeddingTable.bounds_counts`; it has no bounds."""
        return self._hot.bounds_counts()

    def bounds_state(self) -> BoundsState:
        """See `EmbeddingTable.bounds_state`: nothing."""
        return self._hot.bounds_state()

    def restore_bounds(self, state: BoundsState) -> bool:
        """See `EmbeddingTable.restore_bounds`: as a table without bounds."""
        return self._hot.restore_bounds(state)

    @property
    def now_ms(self) -> int | None:
        """See `EmbeddingTable.now_ms`: None."""
        return self._hot.now_ms

    def expire(self) -> Iterator[int]:
        """See `EmbeddingTable.expire`: nothing does."""
        return iter(())

    def would_remove(self, policy: Policy) -> Int64:
        """See `EmbeddingTable.would_remove`."""
        ids, _, last_update_ms, counts = self.items()
        return removable(policy, ids, last_update_ms, counts, None)

    def close(self) -> None:
        """Let go of the directory; the table is of no use any more."""
        self._cold.close()

    @property
    def _piece_rows(self) -> int:
        return max(1, self.hot_rows // _PIECES)

    def _pieces(self, rows: int) -> Iterator[slice]:
        """A batch of `rows`, in pieces that memory has room for; an empty one is a piece, too."""
        for start in range(0, max(1, rows), self._piece_rows):
            yield slice(start, start + self._piece_rows)

    def _missing(self, found: Bools) -> Int64:
        """Positions of what memory did not have and the disk may have."""
        # Read after memory was: a row that has gone from there since was on disk before.
        return np.flatnonzero(~found) if self._reads_disk else np.empty(0, np.int64)

    def _bring(self, ids: Int64) -> None:
        """Have those rows of `ids` in memory that there are, and room for the others."""
        while len(self._hot) + len(ids) > max(len(ids), self.hot_rows):
            self._demote_slice()
        absent = np.unique(ids[self._missing(self._hot.contains(ids))])
        if len(absent):
            _, rows = self._cold.read(absent)
            self._hot.put_back(rows)
            self.rows_on_disk -= len(rows[0])
            self.promoted_rows += len(rows[0])

    def _demote_slice(self) -> None:
        """Move the oldest rows of the next segment to disk."""
        rows = self._hot.oldest(self._segment, max(1, self.hot_rows // (SEGMENTS * _SLICES_OF_SEGMENT)))
        self._segment = (self._segment + 1) % SEGMENTS
        self._cold.write(rows)
        self._reads_disk = True
        # Else memory would list an id again each time that it comes back and learns.
        self._touched.add(self._hot.touched())
        self._hot.take_out(rows[0])
        self.rows_on_disk += len(rows[0])
        self.demoted_rows += len(rows[0])


class _TouchedIds:
    """Distinct ids, added in arrays: 8 bytes each, twice that while they are sorted."""

    def __init__(self) -> None:
        self._distinct = np.empty(0, np.int64)
        self._loose: list[Int64] = []
        self._loose_ids = 0

    def add(self, ids: Int64) -> None:
        if len(ids):
            self._loose.append(ids)
            self._loose_ids += len(ids)
        if self._loose_ids > len(self._distinct) + _LOOSE_IDS:
            self._gather()

    def take(self, clear: bool) -> Int64:
        self._gather()
        distinct = self._distinct
        if clear:
            self._distinct = np.empty(0, np.int64)
        return distinct

    def _gather(self) -> None:
        self._distinct = np.unique(np.concatenate([self._distinct, *self._loose]))
        self._loose, self._loose_ids = [], 0


Table = EmbeddingTable | TieredTable


def make_table(
    settings: TableSettings,
    seed: int,
    path: Path | None,
    *,
    initial_capacity_rows: int,
    threads: int,
) -> Table:
    """One shard's part of a table, with a tier on disk at `path` when its settings say so.

    Raises ValueError when there is no path then, or too little memory; DiskError.
    """
    if settings.disk is None:
        return EmbeddingTable(settings, seed, initial_capacity_rows=initial_capacity_rows, threads=threads)
    if path is None:
        raise ValueError("disk: a directory for the rows is needed")
    if has_bounds(settings):
        raise ValueError("disk: a table with a tier on disk has no admission, expiry, max_rows or max_bytes")
    return TieredTable(settings, seed, path, settings.disk.memory_bytes, threads=threads)


def _sum_repeats(ids: Int64, grads: Float32) -> tuple[Int64, Float32]:
    """Distinct ids and the sums of their gradients, the same that the native table makes."""
    distinct, places = np.unique(ids, return_inverse=True)
    # -0.0 + x is x for every x, +0.0 + x is not.
    sums = np.full((len(distinct), grads.shape[1]), -0.0, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.add.at(sums, places, grads)
    return distinct, sums


def _one_after_the_other(hot: Iterator[Items], cold: Iterator[Items]) -> Iterator[Items]:
    """The rows in memory, then those on disk that are no old copies of them."""
    in_memory = [np.empty(0, np.int64)]
    for rows in hot:
        in_memory.append(rows[0])
        yield rows
    hot_ids = np.sort(np.concatenate(in_memory))
    for ids, values, last_update_ms, counts in cold:
        is_cold = np.searchsorted(hot_ids, ids) == np.searchsorted(hot_ids, ids, "right")
        yield ids[is_cold], values[is_cold], last_update_ms[is_cold], counts[is_cold]
