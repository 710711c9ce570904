"""The native table does what the reference does, whatever is done to both."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ps.reference import ReferenceTable
from ps.settings import BadGradients, InitializerSettings, OptimizerKind, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

# Few distinct ids, so that sequences meet the same row again; and any id at all.
some_ids = st.one_of(
    st.integers(-3, 12), st.sampled_from([-(2**63), 2**63 - 1, 2**32]), st.integers(-(2**63), 2**63 - 1)
)
batches = st.lists(some_ids, max_size=40).map(lambda ids: np.array(ids, np.int64))
ranges = st.builds(np.arange, st.integers(-500, 500), st.integers(500, 1500), st.sampled_from([1, 3]))
times = st.integers(-(2**62), 2**62)
table_settings = st.builds(
    TableSettings,
    dim=st.sampled_from([1, 2, 5, 16]),
    initializer=st.builds(InitializerSettings, kind=st.sampled_from(["zeros", "constant", "uniform"])),
    optimizer=st.builds(
        OptimizerSettings,
        kind=st.sampled_from(get_args(OptimizerKind)),
        l1=st.sampled_from([0.0, 0.01]),
        l2=st.sampled_from([0.0, 0.01]),
        l21=st.sampled_from([0.0, 0.1]),
        clipnorm=st.sampled_from([None, 2.0]),
        bad_gradients=st.sampled_from(get_args(BadGradients)),
    ),
)


def same_outcome(call: Callable[[Any], Any], ours: EmbeddingTable, theirs: ReferenceTable) -> None:
    """Both give the same value or refuse with the same error."""
    outcomes = []
    for table in (ours, theirs):
        try:
            outcomes.append(call(table))
        except ValueError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def joined(chunks: Iterable[tuple[np.ndarray, ...]], like: ReferenceTable) -> list[np.ndarray]:
    empty = ReferenceTable(like._settings, 0, optimizer=like._learns).items()
    return [np.concatenate(column) for column in zip(empty, *chunks, strict=True)]


def assert_equal_rows(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> None:
    our_order, their_order = np.argsort(ours[0]), np.argsort(theirs[0])
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == their.dtype
        assert np.array_equal(our[our_order], their[their_order])


class Comparison(RuleBasedStateMachine):
    @initialize(
        chosen=table_settings,
        seed=st.integers(-(2**70), 2**70),
        rows=st.sampled_from(["learnt", "float32", "float16", "int8"]),
        portable=st.booleans(),
    )
    def start(self, chosen: TableSettings, seed: int, rows: str, portable: bool) -> None:
        self.settings, self.learns = chosen, rows == "learnt"
        kept = {"optimizer": self.learns, "rows": "float32" if self.learns else rows}
        self.table = EmbeddingTable(
            chosen,
            seed,
            **kept,
            initial_capacity_rows=1,
            placement_seed=seed % 2**64,
            portable=portable,
        )
        self.reference = ReferenceTable(chosen, seed, **kept)
        self.our_cut, self.their_cut = (chunk for chunk in ()), None

    @rule(
        ids=st.one_of(batches, ranges),
        ts_ms=times,
        seed=st.integers(0, 2**32),
        bad=st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 3e12, 1e12]), max_size=2),
    )
    def apply_gradients(self, ids: np.ndarray, ts_ms: int, seed: int, bad: list[float]) -> None:
        rng = np.random.default_rng(seed)
        grads = rng.normal(size=(len(ids), self.settings.dim)).astype(np.float32)
        for value in bad if grads.size else ():
            grads.flat[rng.integers(grads.size)] = value
        if self.learns:
            same_outcome(lambda table: table.apply_gradients(ids, grads, ts_ms), self.table, self.reference)
        else:
            with pytest.raises(ValueError, match="no optimizer"):
                self.table.apply_gradients(ids, grads, ts_ms)

    @rule(ids=batches, ts_ms=times, whole=st.booleans(), seed=st.integers(0, 2**32))
    def assign(self, ids: np.ndarray, ts_ms: int, whole: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        width = self.reference.row_floats if whole else self.settings.dim
        rows = rng.integers(0, 1000, (len(ids), width)).astype(np.float32)
        counts = rng.integers(0, 2**32, len(ids)).astype(np.uint32) if whole else None
        self.table.assign(ids, rows, ts_ms, counts)
        self.reference.assign(ids, rows, ts_ms, counts)

    @rule(ids=st.one_of(batches, ranges))
    def remove(self, ids: np.ndarray) -> None:
        assert self.table.remove(ids) == self.reference.remove(ids)

    @rule(ids=batches)
    def lookup(self, ids: np.ndarray) -> None:
        assert np.array_equal(self.table.lookup(ids), self.reference.lookup(ids))
        assert np.array_equal(self.table.contains(ids), self.reference.contains(ids))
        assert np.array_equal(self.table.count(ids), self.reference.count(ids))
        for ours, theirs in zip(
            self.table.lookup_unique(ids), self.reference.lookup_unique(ids), strict=True
        ):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)

    @rule()
    def mark(self) -> None:
        same_outcome(lambda table: table.mark(), self.table, self.reference)

    @rule(mark=st.integers(1, 3))
    def forget(self, mark: int) -> None:
        same_outcome(lambda table: table.forget(mark), self.table, self.reference)

    @rule(mark=st.integers(0, 3), move=st.booleans())
    def touched_since(self, mark: int, move: bool) -> None:
        same_outcome(lambda table: sorted(table.touched_since(mark, move)), self.table, self.reference)

    @rule(chunk_bytes=st.sampled_from([1, 100, 10_000]))
    def begin_a_cut(self, chunk_bytes: int) -> None:
        self.our_cut.close()
        self.our_cut, self.their_cut = self.table.cut(chunk_bytes), self.reference.cut(chunk_bytes)
        self.seen = []

    @precondition(lambda self: self.their_cut is not None)
    @rule(chunks=st.integers(1, 20))
    def read_on_in_the_cut(self, chunks: int) -> None:
        self.seen += islice(self.our_cut, chunks)

    @precondition(lambda self: self.their_cut is not None)
    @rule()
    def read_the_cut_to_its_end(self) -> None:
        self.seen += self.our_cut
        assert_equal_rows(joined(self.seen, self.reference), joined(self.their_cut, self.reference))
        self.their_cut = None

    @rule()
    def go_on_with_a_clone(self) -> None:
        self.before = self.table  # it may have a cut that is read on
        self.table, self.reference = self.table.clone(), self.reference.clone()

    @rule()
    def items(self) -> None:
        assert_equal_rows(self.table.items(), self.reference.items())

    @invariant()
    def same_size(self) -> None:
        if hasattr(self, "table"):
            assert len(self.table) == len(self.reference)
            assert self.table.capacity >= len(self.table)
            assert self.table.skipped_rows == self.reference.skipped_rows
            assert self.table.clipped_rows == self.reference.clipped_rows


Comparison.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestTableIsItsReference = Comparison.TestCase
