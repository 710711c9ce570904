"""One shard: its tables, its dense tensors and its marks, changed by whole pushes only.

**Exactly once.** The shard's mark of a partition is the `next` of the last push it applied. A push that
starts at the mark is applied and moves it; one that ends at or before the mark is a repeat and changes
nothing; any other is refused. A partition without a mark takes the first push it sees.

**All or nothing.** Whatever can be wrong with a push is found before the first change. Tables, dense tensors,
marks and the lists of what changed move together under one lock, and a cut is taken under the same lock.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from ps.arrays import Float32, Int64, Uint32
from ps.bounds import BoundsState, Policy, has_bounds, share_of
from ps.cold_rows import DiskError
from ps.dense import DenseTensors
from ps.push import Push, PushRefused, Span, Tolerance, show_spans
from ps.settings import OptimizerSettings, TableSettings
from ps.table import Items
from ps.tier import Table, make_table
from ps.updates import Sample

MAX_SAMPLES: Final = 1 << 16
"""Of samples that wait for the publisher, the newest are kept: they only measure."""


class ShardBrokenError(RuntimeError):
    """A push failed halfway (out of memory, a full disk): the process must end, and go on from a snapshot."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows of a table: `int64[m]`, `float32[m, row_floats]`, `int64[m]`, `uint32[m]`."""

    ids: Int64
    rows: Float32
    last_update_ms: Int64
    count: Uint32


@dataclass(frozen=True, slots=True)
class TableBounds:
    """What a table's bounds remember, and the ids `int64[k]` of removed rows that replicas may still have."""

    state: BoundsState
    removed: Int64


@dataclass(frozen=True, slots=True)
class ShardState:
    """Everything a shard must remember, as of one moment."""

    tables: Mapping[str, Generator[TableRows, None, None]]
    """All rows, in chunks that are read while pushes go on; raises DiskError."""
    bounds: Mapping[str, TableBounds]
    """Of the tables that have any."""
    dense: Mapping[str, Float32]
    dense_state: Mapping[str, Mapping[str, Float32]]
    marks: Mapping[int, int]
    steps: int
    """Pushes applied: the step of the learning rate's schedule."""

    def close(self) -> None:
        """Let go of rows that were not read: a shard has one state at a time."""
        for chunks in self.tables.values():
            chunks.close()


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since the last such cut, as of one moment: rows are the newest values."""

    rows: Mapping[str, tuple[Int64, Float32]]
    deleted: Mapping[str, Int64]
    marks: Mapping[int, int]
    dense: Mapping[str, Float32]
    samples: tuple[Sample, ...]
    since: float | None
    """When the first of the changes came (`time.monotonic`); None: nothing has changed."""


def table_seed(seed: int, table: str) -> int:
    """The seed of one table's initial rows: equal ids of two tables must not start as equal rows."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{table}".encode(), digest_size=8).digest(), "little")


class Shard:
    """The state of shard `index` of `shards`. Thread-safe; lookups never wait for pushes."""

    def __init__(
        self,
        index: int,
        shards: int,
        tables: Mapping[str, TableSettings],
        dense_optimizer: OptimizerSettings,
        seed: int,
        *,
        initial_capacity_rows: int = 1024,
        threads: int = 1,
        state_dir: Path | None = None,
    ) -> None:
        """`state_dir`: for the rows of tables with a tier on disk; what it has of them is removed.

        Raises ValueError without it when it is needed, and DiskError when it can't be used.
        """
        self.index = index
        self.shards = shards
        self.seed = seed
        self.table_settings = dict(tables)
        self.tables = {
            name: make_table(
                share_of(settings, shards),
                table_seed(seed, name),
                state_dir and state_dir / quote(name, safe=""),
                initial_capacity_rows=initial_capacity_rows,
                threads=threads,
            )
            for name, settings in tables.items()
        }
        self._unacknowledged = {name: np.empty(0, np.int64) for name in tables}
        self._dense = DenseTensors(dense_optimizer)
        self._tolerance = Tolerance.of(tables, dense_optimizer)
        self._marks: dict[int, int] = {}
        self._steps = 0
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._changed_at: float | None = None
        self._broken = ""
        self._lock = threading.Lock()

    @property
    def dense_optimizer(self) -> OptimizerSettings:
        """Of the dense tensors."""
        return self._dense.optimizer

    @property
    def bad_dense_gradients(self) -> tuple[int, int]:
        """Dense tensors whose bad gradient was skipped, and clipped, so far."""
        return self._dense.skipped, self._dense.clipped

    def table(self, name: str) -> Table:
        """The table; raises ValueError when there is none of this name."""
        if name not in self.tables:
            known = ", ".join(sorted(self.tables)) or "no table"
            raise ValueError(f"table {name!r} is unknown: shard {self.index} has {known}")
        return self.tables[name]

    def dense(self) -> dict[str, Float32]:
        """The dense tensors, all as of the same push; not to be written to."""
        return self._dense.values

    def marks(self) -> dict[int, int]:
        """Partition of `examples` to the next position that this shard has not learnt."""
        with self._lock:
            return dict(self._marks)

    def initialize_dense(self, tensors: Mapping[str, Float32]) -> bool:
        """See `DenseTensors.initialize`."""
        with self._lock:
            return self._dense.initialize(tensors)

    def push(self, push: Push) -> bool:
        """Apply `push`: True; or False when it is a repeat, and changes nothing.

        Raises PushRefused when it does not go on at the marks and ValueError when it is malformed: then too
        nothing has changed. ShardBrokenError: it has changed in part.
        """
        push.check(self._tolerance)
        self._check_shapes(push)
        with self._lock:
            if self._is_repeat(push.spans):
                return False
            self._dense.check_gradients(push.dense)
            self._apply(push)
            return True

    def state(self) -> ShardState:
        """The state at this moment; close it. Pushes and lookups go on. Raises ShardBrokenError."""
        with self._whole():
            return ShardState(
                tables={name: _chunks(table.cut()) for name, table in self.tables.items()},
                bounds={
                    name: TableBounds(self.tables[name].bounds_state(), self._removed(name))
                    for name, settings in self.table_settings.items()
                    if has_bounds(settings)
                },
                dense=self._dense.values,
                dense_state=self._dense.state(),
                marks=dict(self._marks),
                steps=self._steps,
            )

    def restore_rows(self, table: str, rows: TableRows) -> None:
        """Put `rows` into `table`; they count as changed."""
        self.tables[table].assign(rows.ids, rows.rows, rows.last_update_ms, rows.count)

    def restore_bounds(self, table: str, bounds: TableBounds) -> bool:
        """Go on from `bounds`, after `table` has its rows: see `EmbeddingTable.restore_bounds`."""
        self._unacknowledged[table] = bounds.removed
        return self.tables[table].restore_bounds(bounds.state)

    def restore_dense(
        self,
        dense: Mapping[str, Float32],
        dense_state: Mapping[str, Mapping[str, Float32]],
        marks: Mapping[int, int],
        steps: int,
    ) -> None:
        """Replace the dense tensors, the marks and the number of pushes applied."""
        with self._lock:
            self._dense.restore(dense, dense_state)
            self._marks = dict(marks)
            self._steps = steps

    def take_changes(self, also: Mapping[str, Int64]) -> Changes:
        """What changed since the last call, and the newest rows of ids `also`. Raises ShardBrokenError."""
        with self._whole():
            found = {name: self._newest(name, also.get(name)) for name in self.tables}
            for name, (_, _, gone) in found.items():
                self._unacknowledged[name] = _union(self._absent(name, self._unacknowledged[name]), gone)
            samples = tuple(self._samples)
            self._samples.clear()
            since, self._changed_at = self._changed_at, None
            marks, dense = dict(self._marks), self._dense.values
        return Changes(
            rows={name: (ids, rows) for name, (ids, rows, _) in found.items() if len(ids)},
            deleted={name: gone for name, (_, _, gone) in found.items() if len(gone)},
            marks=marks,
            dense=dense,
            samples=samples,
            since=since,
        )

    def take_touched(self) -> dict[str, Int64]:
        """The ids of changed rows by table; they no longer count as changed."""
        with self._lock:
            self._changed_at = None
            return {
                name: _union(table.touched(), self._unacknowledged[name])
                for name, table in self.tables.items()
            }

    def forget_changes(self) -> None:
        """Nobody wants to know what has changed: the list of it must not grow."""
        self.take_touched()
        with self._lock:
            self._unacknowledged = {name: np.empty(0, np.int64) for name in self.tables}

    def acknowledge(self, removed: Mapping[str, Int64]) -> None:
        """Replicas will hear that the rows of these ids are gone: a snapshot need not remember it."""
        with self._lock:
            for name, ids in removed.items():
                self._unacknowledged[name] = np.setdiff1d(self._unacknowledged[name], ids)

    def expire(self) -> None:
        """Remove all rows that have expired, a slice at a time between pushes. Raises ShardBrokenError."""
        for table in self.tables.values():
            slices = table.expire()
            left = 1
            while left:
                with self._whole():
                    left = next(slices, 0)
                    self._changed_at = self._changed_at or time.monotonic()

    def policy(self, table: str) -> Policy:
        """What the settings of this shard's part of `table` remove; raises ValueError for an unknown one."""
        self.table(table)
        settings = share_of(self.table_settings[table], self.shards)
        return Policy(settings.expiry.after_s, settings.max_rows, settings.when_full)

    def changed_at(self) -> float | None:
        """When the first change came that `take_changes` has not taken yet (`time.monotonic`)."""
        return self._changed_at

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Holds the lock over a shard that no push has left half changed, nor a disk without its rows."""
        with self._lock:
            if self._broken:
                raise ShardBrokenError(self._broken)
            try:
                yield
            except DiskError as error:
                self._broken = f"shard {self.index}: {error}"
                raise ShardBrokenError(self._broken) from error

    def _removed(self, name: str) -> Int64:
        """Removed rows that replicas may still have."""
        return self._absent(name, _union(self._unacknowledged[name], self.tables[name].touched(clear=False)))

    def _absent(self, name: str, ids: Int64) -> Int64:
        return ids[~self.tables[name].contains(ids)]

    def _newest(self, name: str, also: Int64 | None) -> tuple[Int64, Float32, Int64]:
        """Touched ids and `also`: those with a row, their rows, and those without."""
        table = self.tables[name]
        ids = table.touched()
        if also is not None:
            ids = np.union1d(ids, also)
        rows, present = table.find(ids)
        return ids[present], rows[present], ids[~present]

    def _check_shapes(self, push: Push) -> None:
        for name, (ids, gradients) in push.tables.items():
            wanted = (len(ids), self.table(name).dim)
            if gradients.shape != wanted:
                raise ValueError(
                    f"table {name!r}: gradients {list(wanted)} are needed, not {list(gradients.shape)}"
                )

    def _is_repeat(self, spans: tuple[Span, ...]) -> bool:
        """Whether all of `spans` were applied before; raises PushRefused unless all or none were."""
        repeats = [self._repeats(span) for span in spans]
        if any(repeats) and not all(repeats):
            raise PushRefused(
                f"shard {self.index} has learnt some spans of a push and not others: {show_spans(spans)}, "
                f"marks {self._marks}. Until every shard is past all marks, a push must hold one partition"
            )
        return any(repeats)

    def _repeats(self, span: Span) -> bool:
        mark = self._marks.get(span.partition, span.first)
        if span.first != mark and span.next > mark:
            raise PushRefused(
                f"shard {self.index} has learnt partition {span.partition} up to {mark}: "
                f"a push of [{span.first}, {span.next}) does not go on from there"
            )
        return span.next <= mark

    def _apply(self, push: Push) -> None:
        try:
            self._change(push)
        except BaseException as error:
            self._broken = f"shard {self.index} broke in the middle of a push: {error!r}"
            raise ShardBrokenError(self._broken) from error

    def _change(self, push: Push) -> None:
        for name, (ids, gradients) in push.tables.items():
            self.tables[name].apply_gradients(ids, gradients, push.event_ts_ms, self._steps)
        self._dense.apply_gradients(push.dense, self._steps)
        self._steps += 1
        self._marks |= {span.partition: span.next for span in push.spans}
        self._samples.extend(Sample(*sample) for sample in push.samples)
        self._changed_at = self._changed_at or time.monotonic()


def _chunks(cut: Iterator[Items]) -> Generator[TableRows, None, None]:
    return (TableRows(*items) for items in cut)


def _union(ids: Int64, more: Int64) -> Int64:
    """Each of both once; of one that is empty the other, which is not sorted then."""
    return np.union1d(ids, more) if len(ids) and len(more) else np.concatenate([ids, more])
