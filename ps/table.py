"""The embedding table: int64 ids to rows of floats, NumPy in and NumPy out, over the native `ps._core`.

No two ids share a row. Every one of the 2^64 ids is allowed. All methods are thread-safe and release the GIL.
`ps.reference.ReferenceTable` is the same in plain Python: the specification.
"""

import secrets
from collections.abc import Iterator
from typing import Final

import numpy as np

from ps import _core
from ps.arrays import Bools, Float32, Int32, Int64, Uint32, check_array
from ps.bounds import BoundsState, Policy, Removable, has_bounds, native_config, removable
from ps.optimizer import constants, native_kind
from ps.schedules import check_schedule, learning_rate
from ps.settings import RowFormat, TableSettings

Items = tuple[Int64, Float32, Int64, Uint32]
"""Rows: ids `int64[m]`, values `float32[m, row_floats]`, update times `int64[m]`, counts `uint32[m]`."""
MOST_IDS: Final = 2**31 - 1
"""In one call."""
SEGMENTS: Final = _core.SEGMENTS
CUT_CHUNK_BYTES: Final = 8 << 20


class EmbeddingTable:
    """Rows by id. A row is its embedding (`dim` floats), then the optimizer's state.

    Arrays must be C-contiguous and of the dtype that is stated, else ValueError; then nothing has changed.
    """

    def __init__(
        self,
        settings: TableSettings,
        seed: int,
        *,
        optimizer: bool = True,
        rows: RowFormat = "float32",
        initial_capacity_rows: int = 1024,
        placement_seed: int | None = None,
        threads: int = 1,
        portable: bool = False,
    ) -> None:
        """Make an empty table; `seed`, any integer, decides the initial rows.

        Raises ValueError when the optimizer takes no schedule and has one, BoundsError when the bounds make
        no sense.

        `optimizer=False`: rows carry no state, gradients are refused, touches are not listed, there are no
        bounds (serving).
        `rows`: how such a table keeps them; with an optimizer anything but float32 is a ValueError. Values go
        in and out as float32, rounded to the nearest, ties to even; a row that was read and is assigned again
        stays the same bits, and absent ids read as their exact initial values. float16: off by at most 2^-11
        of a value, or 2^-25; beyond ±65,504 it becomes that. int8: integers from -127 to 127 times a float32
        scale, the row's largest magnitude / 127; off by at most the largest / 254 (and 2^-14 of that), and a
        row below 1.5e-36 reads as 0.
        `placement_seed` decides where rows lie, and no value; None: random, for an attacker who knew it could
        choose ids that collide. `threads`: so many work on one call, but on 4,096 ids each at least.
        `portable=True` never uses AVX2; the values are the same.
        """
        check_schedule(settings.optimizer)
        self._core = _core.Table(
            dim=settings.dim,
            format=getattr(_core.RowFormat, rows),
            initializer=getattr(_core.InitializerKind, settings.initializer.kind),
            scale=settings.initializer.scale,
            optimizer=native_kind(settings.optimizer.kind if optimizer else None),
            constants=constants(settings.optimizer),
            seed=seed & 0xFFFF_FFFF_FFFF_FFFF,
            placement_seed=secrets.randbits(64) if placement_seed is None else placement_seed,
            initial_capacity_rows=initial_capacity_rows,
            threads=threads,
            portable=portable,
        )
        self.dim = settings.dim
        self._optimizer = settings.optimizer
        if optimizer and has_bounds(settings):
            self._core.set_bounds(native_config(settings, self.row_floats, seed))

    @property
    def row_floats(self) -> int:
        """Floats of a row: `dim`, then the optimizer's state (`ps.settings.STATE`)."""
        return self._core.row_floats

    @property
    def skipped_rows(self) -> int:
        """Rows left out so far because of a bad gradient, once for each batch that had one."""
        return self._core.skipped_rows

    @property
    def clipped_rows(self) -> int:
        """Rows whose bad gradient was clipped so far, once for each batch that had one."""
        return self._core.clipped_rows

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory, free slots and rows included: within 2 % of what the process grew by."""
        return self._core.memory_bytes

    @property
    def capacity(self) -> int:
        """Slots of the map; it grows by itself before they run out."""
        return self._core.capacity

    @property
    def now_ms(self) -> int | None:
        """Event time as far as the bounds believe it; None: there are none, or fewer than 31 batches were."""
        return self._core.now_ms

    def __len__(self) -> int:
        """Rows."""
        return len(self._core)

    def lookup(self, ids: Int64, out: Float32 | None = None) -> Float32:
        """Embeddings `float32[n, dim]` of `ids` `int64[n]`; an absent id reads as its initial value."""
        out = self._place_for(ids, out)
        self._core.lookup(ids, out)
        return out

    def find(self, ids: Int64, out: Float32 | None = None) -> tuple[Float32, Bools]:
        """`lookup` and `contains` at once: embeddings, and which of `ids` have a row, `bool[n]`."""
        out = self._place_for(ids, out)
        found = np.empty(len(ids), np.bool_)
        self._core.find(ids, out, found)
        return out, found

    def lookup_unique(self, ids: Int64) -> tuple[Int64, Int32, Float32]:
        """`unique(ids)` and the embeddings of the distinct ids: `int64[u]`, `int32[n]`, `float32[u, dim]`."""
        _check_ids(ids)
        return self._core.lookup_unique(ids)

    def apply_gradients(self, ids: Int64, grads: Float32, ts_ms: int = 0, step: int = 0) -> None:
        """One optimizer step per distinct id of `int64[n]`, with the sum of its gradients `float32[n, dim]`.

        Absent ids get a row first, unless the table's bounds refuse them (`ps.bounds`): then their gradients
        are dropped. A row's update time becomes `ts_ms` unless it is later already; its count
        grows by 1. `step`, from 0, decides the learning rate where there is a schedule. A gradient
        that is NaN, infinite or beyond 1e12: ValueError, nothing changed; or, as `bad_gradients` says, its
        row is left as it is, or learns with what is left after clipping, judged by the sum of its gradients.
        """
        _check_ids(ids)
        check_array(grads, "grads", np.float32, (len(ids), self.dim))
        self._core.apply_gradients(ids, grads, ts_ms, learning_rate(self._optimizer, step))

    def assign(self, ids: Int64, rows: Float32, ts_ms: int | Int64 = 0, counts: Uint32 | None = None) -> None:
        """Set rows of `ids` `int64[n]`: embeddings `float32[n, dim]`, or with state `float32[n, row_floats]`.

        Embeddings alone leave the state: initial for a new id. Of repeated ids the last wins. `ts_ms` is the
        update time, one or `int64[n]`; `counts` `uint32[n]` stay as they are if None. NaN or infinite values:
        ValueError, nothing changed.
        """
        _check_ids(ids)
        width = self.row_floats if np.shape(rows)[1:] == (self.row_floats,) else self.dim
        check_array(rows, "rows", np.float32, (len(ids), width))
        times = ts_ms if isinstance(ts_ms, np.ndarray) else np.full(len(ids), ts_ms, np.int64)
        check_array(times, "ts_ms", np.int64, (len(ids),))
        if counts is None:
            counts = np.empty(0, np.uint32)
        else:
            check_array(counts, "counts", np.uint32, (len(ids),))
        self._core.assign(ids, rows, times, counts)

    def remove(self, ids: Int64) -> int:
        """Remove rows of `ids` `int64[n]`; how many there were. Their memory serves the next new rows."""
        _check_ids(ids)
        return self._core.remove(ids)

    def contains(self, ids: Int64) -> Bools:
        """Whether each of `ids` `int64[n]` has a row: `bool[n]`."""
        _check_ids(ids)
        out = np.empty(len(ids), np.bool_)
        self._core.contains(ids, out)
        return out

    def count(self, ids: Int64) -> Uint32:
        """How often each of `ids` `int64[n]` was updated, up to 2^28 - 1: `uint32[n]`; 0 for an absent id."""
        _check_ids(ids)
        out = np.empty(len(ids), np.uint32)
        self._core.count(ids, out)
        return out

    def items(self) -> Items:
        """A consistent copy, in no order. Each batch call is in it whole or not at all.

        Changes wait until the copy is made, lookups go on. `cut` is for tables that are not small.
        """
        return self._core.items()

    def cut(self, chunk_bytes: int = CUT_CHUNK_BYTES) -> Iterator[Items]:
        """All rows as of this call, in chunks of about `chunk_bytes` and no order, while changes go on.

        Each batch call is in it whole or not at all. It takes memory for rows that change before they were
        read, not for all. ValueError when another cut is neither read to its end nor closed (`close()`).
        """
        most = max(1, chunk_bytes // (4 * self.row_floats))
        return _chunks(self._core.cut(), most)

    def oldest(self, segment: int, most: int) -> Items:
        """Of one of the table's `SEGMENTS` parts, the up to `most` rows whose update is longest ago."""
        return self._core.oldest(segment, most)

    def put_back(self, rows: Items) -> None:
        """Set rows that were taken out; they do not count as touched."""
        self._core.put_back(*rows)

    def take_out(self, ids: Int64) -> int:
        """Remove rows of `ids`; how many there were. They count as touched only if they did before."""
        return self._core.take_out(ids)

    def stamps(self, ids: Int64) -> tuple[Int64, Uint32, Bools]:
        """Update times `int64[n]` and counts `uint32[n]` of `ids`, 0 of those without a row; who has one."""
        _check_ids(ids)
        return self._core.stamps(ids)

    def restamp(self, ids: Int64, ts_ms: int) -> None:
        """Make `ts_ms` the update time of those of `ids` that have a row; they do not count as touched."""
        _check_ids(ids)
        self._core.restamp(ids, ts_ms)

    def mark(self) -> int:
        """A mark at this moment, for `touched_since`; ValueError when there are two already."""
        return self._core.mark()

    def forget(self, mark: int) -> None:
        """Give up a mark, so that nothing is listed for it any more; ValueError when there is none such."""
        self._core.forget(mark)

    def touched_since(self, mark: int, move: bool = True) -> Int64:
        """Distinct ids inserted, changed or removed since `mark`: `int64[k]`, all of them.

        `move`: the mark then is at this moment. ValueError when there is none such. Each id takes 16 bytes
        per mark, or about 50 when it was removed, until the mark moves; long lists leave their memory to
        the next.
        """
        return self._core.touched_since(mark, move)

    def touched(self, clear: bool = True) -> Int64:
        """`touched_since` the mark that every table has from its beginning, for the one consumer of most."""
        return self._core.touched_since(0, clear)

    def expire(self) -> Iterator[int]:
        """Remove all rows that have expired, a slice per step; yields how many rows are left to look at."""
        self._core.start_pass()
        while left := self._core.sweep():
            yield left

    def bounds_counts(self) -> _core.BoundsCounts:
        """How many ids were admitted, refused, expired, evicted, since the table was made."""
        return self._core.bounds_counts()

    def bounds_state(self) -> BoundsState:
        """What the bounds remember: with the rows of the same moment, all that later batches depend on."""
        return BoundsState(*self._core.bounds_state())

    def restore_bounds(self, state: BoundsState) -> bool:
        """Go on from `state`, whose rows the table has. False: its admission filter has another size, window
        or threshold, so counting starts anew. Raises ValueError when it does not fit the rows.
        """
        return self._core.restore_bounds(*state)

    def would_remove(self, policy: Policy) -> Removable:
        """The rows that `policy` would remove now: a look at all, while others change."""
        return removable(policy, *self._core.ages(), self.now_ms)

    def clone(self) -> "EmbeddingTable":
        """A consistent copy that goes its own way, marks and touched ids included."""
        copy = object.__new__(EmbeddingTable)
        copy._core = self._core.clone()
        copy.dim = self.dim
        copy._optimizer = self._optimizer
        return copy

    def _place_for(self, ids: Int64, out: Float32 | None) -> Float32:
        """Where embeddings of `ids` go: `out`, or a new array."""
        _check_ids(ids)
        if out is None:
            return np.empty((len(ids), self.dim), np.float32)
        check_array(out, "out", np.float32, (len(ids), self.dim))
        return out


def unique(ids: Int64) -> tuple[Int64, Int32]:
    """The distinct ones of `ids` `int64[n]`, in the order they first come, and where each id is among them.

    `int64[u]`, `int32[n]`: `distinct[positions]` is `ids`. By hashing: `numpy.unique` sorts.
    """
    _check_ids(ids)
    return _core.unique(ids)


def _check_ids(ids: Int64) -> None:
    check_array(ids, "ids", np.int64, (None,))
    if len(ids) > MOST_IDS:
        raise ValueError(f"ids: at most {MOST_IDS:,} in one call, not {len(ids):,}")


def _chunks(cut: _core.Cut, most: int) -> Iterator[Items]:
    try:
        while len((chunk := cut.next(most))[0]):
            yield chunk
    finally:
        cut.close()
