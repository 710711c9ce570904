"""Rows of which as many as fit are in memory, those whose update is longest ago on disk.

**A row is where it was moved last.** If memory has it, that is the row, and what the disk may have of it is
old; else the disk's is. So a row comes back by a copy, and goes by a write to disk and then a removal from
memory: a reader that looks in memory first and on disk after finds it wherever it is, and waits for nobody.

**Room is made first.** Before rows come in, others go, the oldest of a 64th of the rows at a time. So the
limit holds at any moment, and no value shows any of it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from ps.arrays import Bools, Float32, Int64, Uint32
from ps.bounds import rows_in
from ps.cold_rows import ColdRows
from ps.settings import TableSettings
from ps.table import SEGMENTS, EmbeddingTable, Items

_COLD_SHARE: Final = 4
"""One in so many bytes of the limit is for buffers, caches and filters of the rows on disk."""
_PIECES: Final = 4
"""A batch is worked on in pieces of at most one in so many of the rows in memory."""
_SLICES_OF_SEGMENT: Final = 32
_LOOSE_IDS: Final = 1 << 16
_UNEVEN: Final = 15 / 16
"""A segment may have more rows than others for a while, and keeps their memory."""


def fitting(memory_bytes: int, row_floats: int, held_bytes: int) -> int:
    """Rows of `row_floats` that memory holds beside `held_bytes` for something else; 0: none.

    `memory_bytes`: what a table may take in all, what its tier on disk keeps of it included.
    """
    hot_bytes = memory_bytes - memory_bytes // _COLD_SHARE
    return max(0, int(_UNEVEN * rows_in(hot_bytes - held_bytes, row_floats)))


class MovingRows:
    """Rows by id, in memory or on disk.

    `find` and `contains` are for many threads, and wait for no change; all else is for one at a time. What
    needs the disk raises `ps.cold_rows.DiskError` when that fails: no row is lost then.
    """

    def __init__(
        self, settings: TableSettings, seed: int, path: Path, memory_bytes: int, *, threads: int = 1
    ) -> None:
        """Begin empty; `path` is emptied. Raises DiskError when it can't be opened."""
        cold_bytes = memory_bytes // _COLD_SHARE
        self.hot = EmbeddingTable(settings, seed, threads=threads)
        self.cold = ColdRows(path, self.hot.row_floats, cold_bytes)
        self._memory_bytes = memory_bytes
        self._segment = 0
        self._reads_disk = False
        self._touched = _TouchedIds()
        self.on_disk = self.promoted = self.demoted = 0

    def fitting(self, held_bytes: int) -> int:
        """Rows that this memory holds beside `held_bytes` for something else; 0: none."""
        return fitting(self._memory_bytes, self.hot.row_floats, held_bytes)

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory; the list of touched ids is not among them."""
        return self.hot.memory_bytes + self.cold.memory_bytes

    def __len__(self) -> int:
        """Rows, wherever they are."""
        return len(self.hot) + self.on_disk

    def find(self, ids: Int64, out: Float32 | None = None) -> tuple[Float32, Bools]:
        """See `EmbeddingTable.find`; what is not in memory is read from disk, and stays there."""
        out, found = self.hot.find(ids, out)
        missing = self._missing(found)
        if len(missing):
            found[missing], (_, rows, _, _) = self.cold.read(ids[missing])
            out[missing[found[missing]]] = rows[:, : self.hot.dim]
        return out, found

    def contains(self, ids: Int64) -> Bools:
        """See `EmbeddingTable.contains`."""
        found = self.hot.contains(ids)
        missing = self._missing(found)
        if len(missing):
            found[missing] = self.cold.contains(ids[missing])
        return found

    def stamps(self, ids: Int64) -> tuple[Int64, Uint32, Bools]:
        """See `EmbeddingTable.stamps`."""
        times, counts, found = self.hot.stamps(ids)
        missing = self._missing(found)
        if len(missing):
            found[missing], (_, _, cold_times, cold_counts) = self.cold.read(ids[missing])
            cold = missing[found[missing]]
            times[cold], counts[cold] = cold_times, cold_counts
        return times, counts, found

    def drop(self, ids: Int64) -> int:
        """Remove rows of `ids`, which count as touched; how many there were."""
        distinct = np.unique(ids)
        if not self._reads_disk:
            return self.hot.remove(distinct)
        elsewhere = distinct[~self.hot.contains(distinct)]
        on_disk = elsewhere[self.cold.contains(elsewhere)]
        # Before rows go from memory: else old copies of them would be found.
        self.cold.remove(distinct)
        self.on_disk -= len(on_disk)
        self._touched.add(on_disk)
        return len(on_disk) + self.hot.remove(distinct)

    def restamp(self, ids: Int64, ts_ms: int) -> None:
        """Make `ts_ms` the update time of those of `ids` that have a row; they do not count as touched."""
        missing = self._missing(self.hot.contains(ids))
        if len(missing):
            _, (found, rows, _, counts) = self.cold.read(ids[missing])
            self.cold.write((found, rows, np.full(len(found), ts_ms), counts))
        self.hot.restamp(ids, ts_ms)

    def brought(self, ids: Int64, most_rows: int) -> Iterator[slice]:
        """Pieces of `ids`: until the next is asked for, memory has a piece's rows, and room for new ones.

        An empty one is a piece, too. At most `most_rows` are in memory, or one.
        """
        step = max(1, most_rows // _PIECES)
        for start in range(0, max(1, len(ids)), step):
            piece = slice(start, start + step)
            self._bring(ids[piece], most_rows)
            yield piece

    def cut(self, chunk_bytes: int) -> Iterator[Items]:
        """See `EmbeddingTable.cut`; rows on disk come last, read when they are asked for."""
        return _one_after_the_other(self.hot.cut(chunk_bytes), self.cold.cut())

    def touched(self, clear: bool) -> Int64:
        """See `EmbeddingTable.touched`."""
        self._touched.add(self.hot.touched())
        return self._touched.take(clear)

    def close(self) -> None:
        """Let go of the directory."""
        self.cold.close()

    def _missing(self, found: Bools) -> Int64:
        """Positions of what memory did not have and the disk may have."""
        # Read after memory was: a row that has gone from there since was on disk before.
        return np.flatnonzero(~found) if self._reads_disk else np.empty(0, np.int64)

    def _bring(self, ids: Int64, most_rows: int) -> None:
        """Have those rows of `ids` in memory that there are, and room for the others."""
        while len(self.hot) + len(ids) > max(len(ids), most_rows):
            self._demote_slice(max(1, most_rows // (SEGMENTS * _SLICES_OF_SEGMENT)))
        absent = np.unique(ids[self._missing(self.hot.contains(ids))])
        if len(absent):
            _, rows = self.cold.read(absent)
            self.hot.put_back(rows)
            self.on_disk -= len(rows[0])
            self.promoted += len(rows[0])

    def _demote_slice(self, most: int) -> None:
        """Move the oldest rows of the next segment to disk."""
        rows = self.hot.oldest(self._segment, most)
        self._segment = (self._segment + 1) % SEGMENTS
        self.cold.write(rows)
        self._reads_disk = True
        # Else memory would list an id again each time that it comes back and learns.
        self._touched.add(self.hot.touched())
        self.hot.take_out(rows[0])
        self.on_disk += len(rows[0])
        self.demoted += len(rows[0])


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
