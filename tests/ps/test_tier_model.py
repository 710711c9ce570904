"""A table with hardly a row in memory does what the reference does, whatever is done to both."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ps.reference import ReferenceTable
from ps.settings import LEAST_MEMORY_BYTES, OptimizerSettings, TableSettings
from ps.tier import TieredTable

# Few distinct ids, so that rows go and come back; and any id at all.
ids_ = st.one_of(st.integers(0, 30), st.sampled_from([-(2**63), 2**63 - 1]), st.integers(-(2**63), 2**63 - 1))
batches = st.lists(ids_, max_size=30).map(lambda ids: np.array(ids, np.int64))
seeds = st.integers(0, 2**32)
times = st.integers(-(2**62), 2**62)
DIM = 3
# Where there is one, so that opening a store waits for no disk.
MEMORY = next((path for path in [Path("/dev/shm")] if path.is_dir()), None)


class Comparison(RuleBasedStateMachine):
    @initialize(
        hot_rows=st.sampled_from([1, 7, 40]),
        kind=st.sampled_from(["sgd", "adagrad", "adam"]),
        bad=st.sampled_from(["refuse", "skip", "clip"]),
    )
    def start(self, hot_rows: int, kind: str, bad: str) -> None:
        chosen = TableSettings(
            dim=DIM, optimizer=OptimizerSettings(kind=kind, bad_gradients=bad, clipvalue=9)
        )
        self.path, self.hot_rows = Path(tempfile.mkdtemp(dir=MEMORY)), hot_rows
        self.table = TieredTable(chosen, 5, self.path / "rows", LEAST_MEMORY_BYTES, hot_rows=hot_rows)
        self.reference = ReferenceTable(chosen, 5)

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.table.close()
            shutil.rmtree(self.path)

    @rule(ids=batches, ts_ms=times, seed=seeds, bad=st.sampled_from([1.0, 1.0, np.nan, 1e13]))
    def apply_gradients(self, ids: np.ndarray, ts_ms: int, seed: int, bad: float) -> None:
        grads = np.random.default_rng(seed).normal(size=(len(ids), DIM)).astype(np.float32)
        grads[3:4] *= np.float32(bad)
        outcomes = []
        for table in (self.table, self.reference):
            try:
                table.apply_gradients(ids, grads, ts_ms)
                outcomes.append((table.skipped_rows, table.clipped_rows))
            except ValueError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]

    @rule(ids=batches, ts_ms=times, whole=st.booleans(), seed=seeds)
    def assign(self, ids: np.ndarray, ts_ms: int, whole: bool, seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, 1000, (len(ids), self.reference.row_floats if whole else DIM))
        counts = rng.integers(0, 2**31, len(ids)).astype(np.uint32) if whole else None
        for table in (self.table, self.reference):
            table.assign(ids, rows.astype(np.float32), ts_ms, counts)

    @rule(ids=batches)
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
    def items(self) -> None:
        ours, theirs = self.table.items(), self.reference.items()
        our_order, their_order = np.argsort(ours[0]), np.argsort(theirs[0])
        for our, their in zip(ours, theirs, strict=True):
            assert our.dtype == their.dtype
            assert np.array_equal(our[our_order], their[their_order])

    @invariant()
    def same_size_within_the_limit(self) -> None:
        if hasattr(self, "table"):
            assert len(self.table) == len(self.reference)
            assert len(self.table) - self.table.rows.on_disk <= self.hot_rows


Comparison.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestTieredTableIsItsReference = Comparison.TestCase
