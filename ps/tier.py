"""A table of which only a part is in memory (`ps.moving_rows`).

**Rows come back to learn,** not to be read: a lookup moves nothing, and so need not wait. The push that
follows it reads a row once more; that is the price.

**Bounds are those of a table in memory,** over all rows wherever they are: the same pushes come to the same
rows. They look at fewer rows at a time (`ps.bounds.DISK_SLICE_ROWS`), and their list of ids is in memory, in
place of rows.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ps import _core
from ps.arrays import Bools, Float32, Int32, Int64, Uint32, check_array
from ps.bounds import (
    BoundsError,
    BoundsState,
    Policy,
    Removable,
    bounds_bytes,
    has_bounds,
    native_config,
    removable,
    without_bounds,
)
from ps.moving_rows import MovingRows, fitting
from ps.optimizer import native
from ps.push import is_sane, sane_rows
from ps.settings import LEAST_MEMORY_BYTES, TableSettings
from ps.table import CUT_CHUNK_BYTES, EmbeddingTable, Items, unique


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
        when that is less than `LEAST_MEMORY_BYTES`, BoundsError when the bounds make no sense or leave no
        memory for a row, DiskError when `path` can't be opened.
        """
        if memory_bytes < LEAST_MEMORY_BYTES:
            raise ValueError(
                f"disk.memory_bytes: a shard's part of a table needs {LEAST_MEMORY_BYTES} or more"
            )
        if settings.max_bytes is not None:
            raise BoundsError("max_bytes: the memory of a table with a tier on disk is disk.memory_bytes")
        self._on_bad_gradients = settings.optimizer.bad_gradients
        self.rows = MovingRows(without_bounds(settings), seed, path, memory_bytes, threads=threads)
        self.dim, self.row_floats = settings.dim, self.rows.hot.row_floats
        try:
            self._bounds = self._make_bounds(settings, seed, memory_bytes) if has_bounds(settings) else None
        except BoundsError:
            self.rows.close()
            raise
        self.hot_rows = hot_rows or self.rows.fitting(0)
        self._refused_clipped = 0
        self._changes = threading.Lock()

    @property
    def skipped_rows(self) -> int:
        """See `EmbeddingTable.skipped_rows`."""
        return self.rows.hot.skipped_rows

    @property
    def clipped_rows(self) -> int:
        """See `EmbeddingTable.clipped_rows`."""
        return self.rows.hot.clipped_rows + self._refused_clipped

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory; the list of touched ids is not among them."""
        return self.rows.memory_bytes + self._bounds_bytes

    def __len__(self) -> int:
        """Rows in memory and on disk."""
        with self._changes:
            return len(self.rows)

    def lookup(self, ids: Int64, out: Float32 | None = None) -> Float32:
        """See `EmbeddingTable.lookup`; what is not in memory is read from disk, and stays there."""
        return self.rows.find(ids, out)[0]

    def find(self, ids: Int64, out: Float32 | None = None) -> tuple[Float32, Bools]:
        """See `EmbeddingTable.find`."""
        return self.rows.find(ids, out)

    def contains(self, ids: Int64) -> Bools:
        """See `EmbeddingTable.contains`."""
        return self.rows.contains(ids)

    def apply_gradients(self, ids: Int64, grads: Float32, ts_ms: int = 0, step: int = 0) -> None:
        """See `EmbeddingTable.apply_gradients`."""
        check_array(ids, "ids", np.int64, (None,))
        check_array(grads, "grads", np.float32, (len(ids), self.dim))
        # A batch must not be refused after rows were moved for it, or the first of its pieces was done.
        if self._on_bad_gradients == "refuse" and not is_sane(grads):
            raise ValueError("a gradient is NaN, infinite or beyond 1e+12")
        distinct, places = unique(ids)
        with self._changes:
            if self._bounds is not None:
                kept = self._admitted(self._bounds, distinct, places, grads, ts_ms)
                distinct, places = distinct[kept], np.where(kept, np.cumsum(kept) - 1, -1)[places]
            for piece in self.rows.brought(distinct, self._most_rows):
                mine = _within(piece, places, len(distinct))
                self.rows.hot.apply_gradients(ids[mine], grads[mine], ts_ms, step)
            if self._bounds is not None:
                self._bounds.end_batch(self.rows)

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
            if self._bounds is not None:
                self._bounds.enroll(self.rows, ids)
            for piece in self.rows.brought(ids, self._most_rows):
                some_counts = None if counts is None else counts[piece]
                self.rows.hot.assign(ids[piece], rows[piece], times[piece], some_counts)

    def remove(self, ids: Int64) -> int:
        """See `EmbeddingTable.remove`."""
        check_array(ids, "ids", np.int64, (None,))
        with self._changes:
            removed = self.rows.drop(ids)
            if self._bounds is not None:
                self._bounds.forget(self.rows, removed)
        return removed

    def items(self) -> Items:
        """See `EmbeddingTable.items`: all of it, in memory."""
        none = self.rows.hot.oldest(0, 0)
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
            return self.rows.cut(chunk_bytes)

    def touched(self, clear: bool = True) -> Int64:
        """See `EmbeddingTable.touched`."""
        with self._changes:
            return self.rows.touched(clear)

    def bounds_counts(self) -> _core.BoundsCounts:
        """See `EmbeddingTable.bounds_counts`."""
        with self._changes:
            return self._bounds.counts if self._bounds else self.rows.hot.bounds_counts()

    def bounds_state(self) -> BoundsState:
        """See `EmbeddingTable.bounds_state`."""
        with self._changes:
            return BoundsState(*self._bounds.save()) if self._bounds else self.rows.hot.bounds_state()

    def restore_bounds(self, state: BoundsState) -> bool:
        """See `EmbeddingTable.restore_bounds`."""
        with self._changes:
            return self._bounds is None or self._bounds.restore(self.rows, *state)

    @property
    def now_ms(self) -> int | None:
        """See `EmbeddingTable.now_ms`."""
        with self._changes:
            return self._bounds.now_ms if self._bounds else None

    def expire(self) -> Iterator[int]:
        """See `EmbeddingTable.expire`."""
        if self._bounds is None:
            return
        with self._changes:
            self._bounds.start_pass()
        while left := self._sweep(self._bounds):
            yield left

    def would_remove(self, policy: Policy) -> Removable:
        """See `EmbeddingTable.would_remove`: reads all rows, a piece at a time."""
        ages = [(ids, times, counts) for ids, _, times, counts in self.cut()]
        if not ages:
            return Removable(np.empty(0, np.int64), self.now_ms)
        ids, times, counts = zip(*ages, strict=True)
        everything = np.concatenate(ids), np.concatenate(times), np.concatenate(counts)
        return removable(policy, *everything, self.now_ms)

    def close(self) -> None:
        """Let go of the directory; the table is of no use any more."""
        self.rows.close()

    def _make_bounds(self, settings: TableSettings, seed: int, memory_bytes: int) -> _core.Bounds:
        if rows_beside_bounds(settings, memory_bytes) < 1:
            raise BoundsError(
                f"disk.memory_bytes: what admission and max_rows need of it, {bounds_bytes(settings)}, "
                "leaves none for rows"
            )
        return _core.Bounds(native_config(settings, self.row_floats, seed))

    @property
    def _bounds_bytes(self) -> int:
        return self._bounds.bytes if self._bounds else 0

    @property
    def _most_rows(self) -> int:
        """In memory, beside what the bounds take."""
        return min(self.hot_rows, self.rows.fitting(self._bounds_bytes))

    def _admitted(
        self, bounds: _core.Bounds, distinct: Int64, places: Int32, grads: Float32, ts_ms: int
    ) -> Bools:
        """Which of the `distinct` ids have a row or get one; `places` of the batch's gradients among them."""
        bad = np.zeros(len(distinct), np.bool_)
        if self._on_bad_gradients != "refuse":
            bad = ~sane_rows(_sums(places, len(distinct), grads))
        left_out = bad & (self._on_bad_gradients == "skip")
        skip = left_out.copy()
        bounds.begin_batch(self.rows, distinct, ts_ms, skip)
        # Memory counts the bad ones that it is given: those left out as well, which get no row of it.
        kept = left_out | ~skip
        self._refused_clipped += np.count_nonzero(bad & ~kept)
        return kept

    def _sweep(self, bounds: _core.Bounds) -> int:
        with self._changes:
            return bounds.sweep(self.rows)


Table = EmbeddingTable | TieredTable


def rows_beside_bounds(settings: TableSettings, memory_bytes: int) -> int:
    """How many rows memory holds beside what the bounds need of `memory_bytes`; 0: none."""
    row_floats = settings.dim + native(settings.optimizer, settings.dim).state_floats
    return fitting(memory_bytes, row_floats, bounds_bytes(settings))


def make_table(
    settings: TableSettings,
    seed: int,
    path: Path | None,
    *,
    initial_capacity_rows: int,
    threads: int,
) -> Table:
    """One shard's part of a table, with a tier on disk at `path` when its settings say so.

    Raises ValueError when there is no path then, or too little memory; BoundsError; DiskError.
    """
    if settings.disk is None:
        return EmbeddingTable(settings, seed, initial_capacity_rows=initial_capacity_rows, threads=threads)
    if path is None:
        raise ValueError("disk: a directory for the rows is needed")
    return TieredTable(settings, seed, path, settings.disk.memory_bytes, threads=threads)


def _within(piece: slice, places: Int32, count: int) -> slice | Bools:
    """What a batch has in a piece of its `count` distinct ids that are kept; at -1 are others."""
    if piece.start == 0 and count <= piece.stop and places.min(initial=0) == 0:
        return slice(None)
    is_within: Bools = (places >= piece.start) & (places < piece.stop)
    return is_within


def _sums(places: Int32, count: int, grads: Float32) -> Float32:
    """The sums `float32[count, dim]` of the gradients at each place, in the order of the batch."""
    sums = np.zeros((count, grads.shape[1]), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.add.at(sums, places, grads)
    return sums
