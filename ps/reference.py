"""The table's specification: the same interface over a dict, in plain NumPy, for tests to compare against.

Values are the same bits as the native table's: float32 arithmetic in the same order. Normal initial values
may differ in the last bit, where the C library's logarithm does.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from ps.arrays import Bools, Float32, Int32, Int64, Uint32, check_array
from ps.bounds import Policy, Removable, has_bounds, removable
from ps.push import is_sane
from ps.reference_bounds import Counts, ReferenceBounds, Stamp
from ps.reference_hash import GOLDEN, MASK, mix
from ps.reference_optimizers import initial_state, made_sane, state_floats, take_step
from ps.schedules import learning_rate
from ps.settings import InitializerSettings, RowFormat, TableSettings

_MOST_COUNT: Final = (1 << 28) - 1
_MARKS: Final = 3
_LARGEST_SCALE: Final = np.nextafter(np.finfo(np.float32).max / np.float32(127), np.float32(0))
"""Of an int8 row: 127 of it are finite."""
_BELOW_MINUS_TWO: Final = 0.022750131948179195
"""The standard normal distribution function at -2, where Keras cuts its truncated normal."""


def random_bits(seed: int, row_id: int, dim: int) -> Uint32:
    """32 random bits for each of `dim` values: a counter, mixed."""
    stream = mix(row_id & MASK, mix(seed & MASK, GOLDEN))
    pairs = [mix((stream + GOLDEN * (i + 1)) & MASK, 0) for i in range((dim + 1) // 2)]
    return np.array(pairs, "<u8").view("<u4")[:dim]


def initial_row(settings: InitializerSettings, seed: int, row_id: int, dim: int) -> Float32:
    """The initial embedding `float32[dim]`: a pure function of its arguments."""
    bits = random_bits(seed, row_id, dim)
    scale = np.float32(settings.scale)
    unit = (bits.astype(np.float64) + 0.5) * 2.0**-32
    match settings.kind:
        case "zeros":
            return np.zeros(dim, np.float32)
        case "constant":
            return np.full(dim, scale, np.float32)
        case "uniform":
            return bits.view(np.int32).astype(np.float32) * (scale * np.float32(2.0**-31))
        case "normal":
            return (normal_quantile(unit) * np.float64(scale)).astype(np.float32)
        case "truncated_normal":
            p = _BELOW_MINUS_TWO + unit * (1.0 - 2.0 * _BELOW_MINUS_TWO)
            return (normal_quantile(p) * np.float64(scale)).astype(np.float32)


def normal_quantile(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The standard normal quantile; the native one (Wichura, AS 241) is within 1e-15 of it."""
    return np.array([NormalDist().inv_cdf(x) for x in p.tolist()])


def stored(values: Float32, rows: RowFormat) -> Float32:
    """What rows `float32[n, dim]` read as once they are kept as `rows`."""
    match rows:
        case "float32":
            return values
        case "float16":
            most = np.float32(np.finfo(np.float16).max)
            return np.clip(values, -most, most).astype(np.float16).astype(np.float32)
        case "int8":
            scale: Float32 = np.abs(values).max(axis=1, initial=0, keepdims=True) / np.float32(127)
            scale = np.minimum(scale, _LARGEST_SCALE)
            scale[scale < np.finfo(np.float32).tiny] = 0
            steps = np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)
            whole: Float32 = np.rint(steps) + np.float32(0)  # an integer has no -0
            return whole * scale


@dataclass(slots=True)
class _Row(Stamp):
    values: Float32


class ReferenceTable:
    """`ps.table.EmbeddingTable` over a dict: same methods, same values, same errors. Not thread-safe."""

    def __init__(
        self,
        settings: TableSettings,
        seed: int,
        *,
        optimizer: bool = True,
        rows: RowFormat = "float32",
        initial_capacity_rows: int = 1024,
    ) -> None:
        if optimizer and rows != "float32":
            raise ValueError("a table with an optimizer has rows of float32")
        self._settings = settings
        self._seed = seed
        self._learns = optimizer
        self._format = rows
        self._rows: dict[int, _Row] = {}
        self._touched: dict[int, set[int]] = {0: set()}
        self.skipped_rows = self.clipped_rows = 0
        self._bounds = (
            ReferenceBounds(settings, seed, self._find, self._remove)
            if optimizer and has_bounds(settings)
            else None
        )
        self.dim = settings.dim
        self.row_floats = self.dim + (state_floats(settings.optimizer, self.dim) if optimizer else 0)

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    def lookup(self, ids: Int64) -> Float32:
        """See `EmbeddingTable.lookup`."""
        check_array(ids, "ids", np.int64, (None,))
        rows = [
            self._rows[i].values[: self.dim] if i in self._rows else self._initial(i) for i in ids.tolist()
        ]
        return np.array(rows, np.float32).reshape(len(ids), self.dim)

    def lookup_unique(self, ids: Int64) -> tuple[Int64, Int32, Float32]:
        """See `EmbeddingTable.lookup_unique`."""
        check_array(ids, "ids", np.int64, (None,))
        distinct = np.array(list(dict.fromkeys(ids.tolist())), np.int64)
        at = {row_id: i for i, row_id in enumerate(distinct.tolist())}
        return distinct, np.array([at[i] for i in ids.tolist()], np.int32), self.lookup(distinct)

    def apply_gradients(self, ids: Int64, grads: Float32, ts_ms: int = 0, step: int = 0) -> None:
        """See `EmbeddingTable.apply_gradients`."""
        check_array(ids, "ids", np.int64, (None,))
        check_array(grads, "grads", np.float32, (len(ids), self.dim))
        if not self._learns:
            raise ValueError("this table has no optimizer: it takes no gradients")
        rate = learning_rate(self._settings.optimizer, step)
        sums = self._sane_sums(ids, grads)
        rejected = self._bounds.begin_batch(list(sums), ts_ms) if self._bounds else set()
        for row_id, gradient in sums.items():
            if row_id not in rejected:
                row = self._find_or_insert(row_id)
                take_step(self._settings.optimizer, row.values, gradient, rate)
                row.last_update_ms = max(row.last_update_ms, ts_ms)
                row.count = min(row.count + 1, _MOST_COUNT)
        if self._bounds:
            self._bounds.end_batch()

    def _sane_sums(self, ids: Int64, grads: Float32) -> dict[int, Float32]:
        """Summed gradients by id, after what the settings say of bad ones."""
        policy = self._settings.optimizer.bad_gradients
        if policy == "refuse" and not is_sane(grads):
            raise ValueError("a gradient is NaN, infinite or beyond 1e+12")
        sums = _sum_repeats(ids, grads)
        bad = {i for i, g in sums.items() if not is_sane(g)}
        if policy == "skip":
            self.skipped_rows += len(bad)
            return {i: g for i, g in sums.items() if i not in bad}
        if policy == "clip":
            self.clipped_rows += len(bad)
            return {i: made_sane(g) if i in bad else g for i, g in sums.items()}
        return sums

    def assign(self, ids: Int64, rows: Float32, ts_ms: int | Int64 = 0, counts: Uint32 | None = None) -> None:
        """See `EmbeddingTable.assign`."""
        check_array(ids, "ids", np.int64, (None,))
        width = self.row_floats if np.shape(rows)[1:] == (self.row_floats,) else self.dim
        check_array(rows, "rows", np.float32, (len(ids), width))
        if not np.isfinite(rows).all():
            raise ValueError("a row holds NaN or an infinite value")
        rows = stored(rows, self._format)
        times = np.broadcast_to(ts_ms, ids.shape)
        if self._bounds:
            self._bounds.enroll(dict.fromkeys(i for i in ids.tolist() if i not in self._rows))
        for i, row_id in enumerate(ids.tolist()):
            row = self._find_or_insert(row_id)
            row.values[: rows.shape[1]] = rows[i]
            row.last_update_ms = int(times[i])
            row.count = row.count if counts is None else min(int(counts[i]), _MOST_COUNT)

    def remove(self, ids: Int64) -> int:
        """See `EmbeddingTable.remove`."""
        removed = sum(self._remove(row_id) for row_id in ids.tolist())
        if self._bounds:
            self._bounds.forget(removed)
        return removed

    def contains(self, ids: Int64) -> Bools:
        """See `EmbeddingTable.contains`."""
        return np.array([i in self._rows for i in ids.tolist()], np.bool_)

    def count(self, ids: Int64) -> Uint32:
        """See `EmbeddingTable.count`."""
        return np.array([self._rows[i].count if i in self._rows else 0 for i in ids.tolist()], np.uint32)

    def items(self) -> tuple[Int64, Float32, Int64, Uint32]:
        """See `EmbeddingTable.items`."""
        rows = self._rows.values()
        values = np.array([r.values for r in rows], np.float32).reshape(len(rows), self.row_floats)
        times = np.array([r.last_update_ms for r in rows], np.int64)
        return (
            np.array(list(self._rows), np.int64),
            values,
            times,
            np.array([r.count for r in rows], np.uint32),
        )

    def cut(self, chunk_bytes: int = 8 << 20) -> Iterator[tuple[Int64, Float32, Int64, Uint32]]:
        """See `EmbeddingTable.cut`."""
        most = max(1, chunk_bytes // (4 * self.row_floats))
        ids, rows, times, counts = self.items()
        parts = [slice(start, start + most) for start in range(0, len(ids), most)]
        return ((ids[part], rows[part], times[part], counts[part]) for part in parts)

    def mark(self) -> int:
        """See `EmbeddingTable.mark`."""
        if not self._learns:
            raise ValueError("this table has no optimizer: it lists no changes")
        unused = [mark for mark in range(_MARKS) if mark not in self._touched]
        if not unused:
            raise ValueError("all marks of this table are in use")
        self._touched[unused[0]] = set()
        return unused[0]

    def forget(self, mark: int) -> None:
        """See `EmbeddingTable.forget`."""
        self._check_mark(mark)
        del self._touched[mark]

    def touched_since(self, mark: int, move: bool = True) -> Int64:
        """See `EmbeddingTable.touched_since`."""
        if not self._learns:
            return np.empty(0, np.int64)
        self._check_mark(mark)
        ids = np.array(list(self._touched[mark]), np.int64)
        if move:
            self._touched[mark].clear()
        return ids

    def touched(self, clear: bool = True) -> Int64:
        """See `EmbeddingTable.touched`."""
        return self.touched_since(0, move=clear)

    @property
    def now_ms(self) -> int | None:
        """See `EmbeddingTable.now_ms`."""
        return self._bounds.now_ms if self._bounds else None

    def expire(self) -> Iterator[int]:
        """See `EmbeddingTable.expire`."""
        if self._bounds:
            self._bounds.start_pass()
            while left := self._bounds.sweep():
                yield left

    def bounds_counts(self) -> Counts:
        """See `EmbeddingTable.bounds_counts`."""
        return self._bounds.counts if self._bounds else Counts()

    def would_remove(self, policy: Policy) -> Removable:
        """See `EmbeddingTable.would_remove`."""
        ids, _, times, counts = self.items()
        return removable(policy, ids, times, counts, self.now_ms)

    def clone(self) -> "ReferenceTable":
        """See `EmbeddingTable.clone`."""
        copy = deepcopy(self)
        copy.skipped_rows = copy.clipped_rows = 0
        return copy

    def _check_mark(self, mark: int) -> None:
        if mark not in self._touched:
            raise ValueError("this table has no such mark")

    def _touch(self, row_id: int) -> None:
        for ids in self._touched.values():
            ids.add(row_id)

    def _initial(self, row_id: int) -> Float32:
        return initial_row(self._settings.initializer, self._seed, row_id, self.dim)

    def _find(self, row_id: int) -> _Row | None:
        return self._rows.get(row_id)

    def _remove(self, row_id: int) -> bool:
        if self._rows.pop(row_id, None) is None:
            return False
        if self._learns:
            self._touch(row_id)
        return True

    def _find_or_insert(self, row_id: int) -> _Row:
        if row_id not in self._rows:
            state = initial_state(self._settings.optimizer, self.dim)[: self.row_floats - self.dim]
            self._rows[row_id] = _Row(0, 0, np.concatenate([self._initial(row_id), state]))
        if self._learns:
            self._touch(row_id)
        return self._rows[row_id]


def _sum_repeats(ids: Int64, grads: Float32) -> dict[int, Float32]:
    """Gradients by id, added up in the order of the batch."""
    sums: dict[int, Float32] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for row_id, gradient in zip(ids.tolist(), grads, strict=True):
            sums[row_id] = sums[row_id] + gradient if row_id in sums else gradient
    return sums
