"""The native table does what the reference does, whatever is done to both."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

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


def outcome(
    table: EmbeddingTable | ReferenceTable, ids: np.ndarray, grads: np.ndarray, ts_ms: int
) -> str | None:
    try:
        table.apply_gradients(ids, grads, ts_ms)
    except ValueError as error:
        return str(error)
    return None


class Comparison(RuleBasedStateMachine):
    @initialize(
        chosen=table_settings, seed=st.integers(-(2**70), 2**70), learns=st.booleans(), portable=st.booleans()
    )
    def start(self, chosen: TableSettings, seed: int, learns: bool, portable: bool) -> None:
        self.settings, self.seed, self.learns = chosen, seed, learns
        self.table = EmbeddingTable(
            chosen,
            seed,
            optimizer=learns,
            initial_capacity_rows=1,
            placement_seed=seed % 2**64,
            portable=portable,
        )
        self.reference = ReferenceTable(chosen, seed, optimizer=learns)

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
            assert outcome(self.table, ids, grads, ts_ms) == outcome(self.reference, ids, grads, ts_ms)
        else:
            with pytest.raises(ValueError, match="no optimizer"):
                self.table.apply_gradients(ids, grads, ts_ms)

    @rule(ids=batches, ts_ms=times, whole=st.booleans(), seed=st.integers(0, 2**32))
    def assign(self, ids: np.ndarray, ts_ms: int, whole: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        width = self.reference.row_floats if whole else self.settings.dim
        rows = rng.integers(0, 1000, (len(ids), width)).astype(np.float32)
        counts = rng.integers(0, 2**31, len(ids)).astype(np.uint32) if whole else None
        self.table.assign(ids, rows, ts_ms, counts)
        self.reference.assign(ids, rows, ts_ms, counts)

    @rule(ids=st.one_of(batches, ranges))
    def remove(self, ids: np.ndarray) -> None:
        assert self.table.remove(ids) == self.reference.remove(ids)

    @rule(ids=batches)
    def lookup(self, ids: np.ndarray) -> None:
        assert np.array_equal(self.table.lookup(ids), self.reference.lookup(ids))
        assert np.array_equal(self.table.contains(ids), self.reference.contains(ids))

    @rule(clear=st.booleans())
    def touched(self, clear: bool) -> None:
        assert sorted(self.table.touched(clear)) == sorted(self.reference.touched(clear))

    @rule()
    def go_on_with_a_clone(self) -> None:
        self.table, self.reference = self.table.clone(), self.reference.clone()

    @rule()
    def items(self) -> None:
        ours, theirs = self.table.items(), self.reference.items()
        our_order, their_order = np.argsort(ours[0]), np.argsort(theirs[0])
        for our, their in zip(ours, theirs, strict=True):
            assert our.dtype == their.dtype
            assert np.array_equal(our[our_order], their[their_order])

    @invariant()
    def same_size(self) -> None:
        if hasattr(self, "table"):
            assert len(self.table) == len(self.reference)
            assert self.table.capacity >= len(self.table)
            assert self.table.skipped_rows == self.reference.skipped_rows
            assert self.table.clipped_rows == self.reference.clipped_rows


Comparison.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestTableIsItsReference = Comparison.TestCase
