"""A table with bounds does what the reference does: the same ids admitted, expired and evicted."""

from dataclasses import asdict
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ps.bounds import Policy
from ps.reference import ReferenceTable
from ps.reference_bounds import Counts
from ps.settings import AdmissionSettings, ExpirySettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

SEED = 11
some_ids = st.one_of(st.integers(0, 60), st.sampled_from([-(2**63), 2**63 - 1]))
batches = st.lists(some_ids, max_size=30).map(lambda ids: np.array(ids, np.int64))
ranges = st.builds(np.arange, st.integers(100, 300), st.integers(300, 420))
hours = st.floats(0.01, 8).map(lambda hours: int(hours * 3_600_000))
admissions = st.one_of(
    st.just(AdmissionSettings()),
    st.builds(
        AdmissionSettings,
        min_count=st.integers(1, 4),
        window_s=st.sampled_from([3600.0, 40_000.0]),
        tracked_ids=st.just(4000),
    ),
    st.builds(AdmissionSettings, probability=st.sampled_from([0.3, 1.0])),
)
table_settings = st.builds(
    TableSettings,
    dim=st.just(2),
    optimizer=st.builds(
        OptimizerSettings, kind=st.just("adagrad"), bad_gradients=st.sampled_from(["refuse", "skip", "clip"])
    ),
    admission=admissions,
    expiry=st.builds(ExpirySettings, after_s=st.sampled_from([None, 7200.0, 200_000.0])),
    max_rows=st.one_of(st.none(), st.sampled_from([1, 20, 300])),
    when_full=st.sampled_from(["oldest", "least_frequent", "refuse"]),
)


class Comparison(RuleBasedStateMachine):
    @initialize(chosen=table_settings)
    def start(self, chosen: TableSettings) -> None:
        self.settings, self.now_ms = chosen, 1_764_000_000_000
        self.table, self.reference = self.new_table(), ReferenceTable(chosen, SEED)

    def new_table(self) -> Any:
        return EmbeddingTable(self.settings, SEED, initial_capacity_rows=1)

    def learn(self, ids: np.ndarray, ts_ms: int, bad: float = 1.0) -> None:
        grads = np.ones((len(ids), 2), np.float32)
        grads[2:4] *= np.float32(bad)
        outcomes = []
        for table in (self.table, self.reference):
            try:
                table.apply_gradients(ids, grads, ts_ms)
                outcomes.append((table.skipped_rows, table.clipped_rows))
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]

    @rule(
        ids=st.one_of(batches, ranges),
        step_ms=hours,
        wrong_ms=st.sampled_from([0, 0, 0, 10**12, -(2**62)]),
        bad=st.sampled_from([1.0, 1.0, np.nan, 1e13]),
    )
    def apply_gradients(self, ids: np.ndarray, step_ms: int, wrong_ms: int, bad: float) -> None:
        self.now_ms += step_ms
        self.learn(ids, self.now_ms + wrong_ms, bad)

    @rule(step_ms=st.integers(0, 3_600_000), count=st.integers(20, 40))
    def time_goes_on(self, step_ms: int, count: int) -> None:
        for i in range(count):
            self.now_ms += step_ms
            self.learn(np.array([i % 7], np.int64), self.now_ms)

    @rule(ids=batches, step_ms=hours)
    def assign(self, ids: np.ndarray, step_ms: int) -> None:
        for table in (self.table, self.reference):
            table.assign(ids, np.ones((len(ids), 2), np.float32), self.now_ms + step_ms)

    @rule(ids=st.one_of(batches, ranges))
    def remove(self, ids: np.ndarray) -> None:
        assert self.table.remove(ids) == self.reference.remove(ids)

    @rule(clear=st.booleans())
    def touched(self, clear: bool) -> None:
        assert sorted(self.table.touched(clear)) == sorted(self.reference.touched(clear))

    @rule()
    def go_on_with_a_clone(self) -> None:
        self.table, self.reference = self.table.clone(), self.reference.clone()

    @rule()
    def go_on_after_a_restore(self) -> None:
        restored = self.new_table()
        restored.assign(*self.table.items())
        assert restored.restore_bounds(self.table.bounds_state())
        restored.touched()
        self.reference.touched()
        if self.reference._bounds:  # counts are those of one life
            self.reference._bounds.counts = Counts()
        self.reference.skipped_rows = self.reference.clipped_rows = 0
        self.table = restored

    @rule()
    def expire(self) -> None:
        assert list(self.table.expire()) == list(self.reference.expire())

    @rule(
        after_s=st.sampled_from([None, 3600.0]),
        max_rows=st.sampled_from([None, 10]),
        when_full=st.sampled_from(["oldest", "least_frequent", "refuse"]),
    )
    def would_remove(self, after_s: float | None, max_rows: int | None, when_full) -> None:
        policy = Policy(after_s, max_rows, when_full)
        assert len(self.table.would_remove(policy).ids) == len(self.reference.would_remove(policy).ids)

    @invariant()
    def same_rows(self) -> None:
        if not hasattr(self, "table"):
            return
        ours, theirs = self.table.items(), self.reference.items()
        our_order, their_order = np.argsort(ours[0]), np.argsort(theirs[0])
        for our, their in zip(ours, theirs, strict=True):
            assert np.array_equal(our[our_order], their[their_order])

    @invariant()
    def same_counts(self) -> None:
        if hasattr(self, "table"):
            counts = self.table.bounds_counts()
            for name, count in asdict(self.reference.bounds_counts()).items():
                assert getattr(counts, name) == count, name
            assert self.table.now_ms == self.reference.now_ms


Comparison.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestBoundsAreTheirReference = Comparison.TestCase
