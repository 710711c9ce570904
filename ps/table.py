"""The embedding table: int64 ids to rows of float32, NumPy in and NumPy out, over the native `ps._core`.

No two ids share a row. Every one of the 2^64 ids is allowed. All methods are thread-safe and release the GIL.
`ps.reference.ReferenceTable` is the same in plain Python: the specification.
"""

import secrets

import numpy as np

from ps import _core
from ps.arrays import Bools, Float32, Int64, Uint32, check_array
from ps.optimizer import constants, native_kind
from ps.schedules import check_schedule, learning_rate
from ps.settings import TableSettings


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
        initial_capacity_rows: int = 1024,
        placement_seed: int | None = None,
        portable: bool = False,
    ) -> None:
        """Make an empty table; `seed`, any integer, decides the initial rows.

        Raises ValueError when the optimizer takes no schedule and has one.

        `optimizer=False`: rows carry no state, gradients are refused, touches are not listed (serving).
        `placement_seed` decides where rows lie, and no value; None: random, for an attacker who knew it could
        choose ids that collide. `portable=True` never uses AVX2; the values are the same.
        """
        check_schedule(settings.optimizer)
        self._core = _core.Table(
            dim=settings.dim,
            initializer=getattr(_core.InitializerKind, settings.initializer.kind),
            scale=settings.initializer.scale,
            optimizer=native_kind(settings.optimizer.kind if optimizer else None),
            constants=constants(settings.optimizer),
            seed=seed & 0xFFFF_FFFF_FFFF_FFFF,
            placement_seed=secrets.randbits(64) if placement_seed is None else placement_seed,
            initial_capacity_rows=initial_capacity_rows,
            portable=portable,
        )
        self.dim = settings.dim
        self._optimizer = settings.optimizer

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
        """Bytes of memory the table takes, free slots and rows included."""
        return self._core.memory_bytes

    @property
    def capacity(self) -> int:
        """Slots of the map; it grows by itself before they run out."""
        return self._core.capacity

    def __len__(self) -> int:
        """Rows."""
        return len(self._core)

    def lookup(self, ids: Int64, out: Float32 | None = None) -> Float32:
        """Embeddings `float32[n, dim]` of `ids` `int64[n]`; an absent id reads as its initial value."""
        check_array(ids, "ids", np.int64, (None,))
        if out is None:
            out = np.empty((len(ids), self.dim), np.float32)
        else:
            check_array(out, "out", np.float32, (len(ids), self.dim))
        self._core.lookup(ids, out)
        return out

    def apply_gradients(self, ids: Int64, grads: Float32, ts_ms: int = 0, step: int = 0) -> None:
        """One optimizer step per distinct id of `int64[n]`, with the sum of its gradients `float32[n, dim]`.

        Absent ids get a row first. A row's update time becomes `ts_ms` unless it is later already; its count
        grows by 1. `step`, from 0, decides the learning rate where there is a schedule. A gradient
        that is NaN, infinite or beyond 1e12: ValueError, nothing changed; or, as `bad_gradients` says, its
        row is left as it is, or learns with what is left after clipping, judged by the sum of its gradients.
        """
        check_array(ids, "ids", np.int64, (None,))
        check_array(grads, "grads", np.float32, (len(ids), self.dim))
        self._core.apply_gradients(ids, grads, ts_ms, learning_rate(self._optimizer, step))

    def assign(self, ids: Int64, rows: Float32, ts_ms: int | Int64 = 0, counts: Uint32 | None = None) -> None:
        """Set rows of `ids` `int64[n]`: embeddings `float32[n, dim]`, or with state `float32[n, row_floats]`.

        Embeddings alone leave the state: initial for a new id. Of repeated ids the last wins. `ts_ms` is the
        update time, one or `int64[n]`; `counts` `uint32[n]` stay as they are if None. NaN or infinite values:
        ValueError, nothing changed.
        """
        check_array(ids, "ids", np.int64, (None,))
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
        check_array(ids, "ids", np.int64, (None,))
        return self._core.remove(ids)

    def contains(self, ids: Int64) -> Bools:
        """Whether each of `ids` `int64[n]` has a row: `bool[n]`."""
        check_array(ids, "ids", np.int64, (None,))
        out = np.empty(len(ids), np.bool_)
        self._core.contains(ids, out)
        return out

    def items(self) -> tuple[Int64, Float32, Int64, Uint32]:
        """A consistent copy, in no order: ids, rows, update times, counts.

        `int64[m]`, `float32[m, row_floats]`, `int64[m]`, `uint32[m]`. Each batch call is in it whole or
        not at all. Changes wait until the copy is made, lookups go on.
        """
        return self._core.items()

    def touched(self, clear: bool = True) -> Int64:
        """Distinct ids inserted, changed or removed since the last clear: `int64[k]`, all of them."""
        return self._core.touched(clear)

    def clone(self) -> "EmbeddingTable":
        """A consistent copy that goes its own way, touched ids included."""
        copy = object.__new__(EmbeddingTable)
        copy._core = self._core.clone()
        copy.dim = self.dim
        copy._optimizer = self._optimizer
        return copy
