"""A table with bounds and hardly a row in memory does what the reference does with all in memory."""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from ps.settings import LEAST_MEMORY_BYTES, DiskSettings, TableSettings
from ps.tier import TieredTable
from tests.ps.test_bounds_model import SEED, Comparison, batches, table_settings

DISK = DiskSettings(memory_bytes=LEAST_MEMORY_BYTES)
# Where there is one, so that opening a store waits for no disk.
MEMORY = next((path for path in [Path("/dev/shm")] if path.is_dir()), None)


class TieredComparison(Comparison):
    @initialize(chosen=table_settings, hot_rows=st.sampled_from([1, 7, 40]))
    def start(self, chosen: TableSettings, hot_rows: int) -> None:
        self.opened, self.hot_rows = ExitStack(), hot_rows
        super().start(chosen.model_copy(update={"disk": DISK}))

    def new_table(self) -> TieredTable:
        path = Path(tempfile.mkdtemp(dir=MEMORY))
        self.opened.callback(shutil.rmtree, path)
        table = TieredTable(self.settings, SEED, path, LEAST_MEMORY_BYTES, hot_rows=self.hot_rows)
        self.opened.callback(table.close)
        return table

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.close()

    # A disk is of one table only.
    go_on_with_a_clone = None

    @rule(ids=batches)
    def lookup(self, ids: np.ndarray) -> None:
        assert np.array_equal(self.table.lookup(ids), self.reference.lookup(ids))
        assert np.array_equal(self.table.contains(ids), self.reference.contains(ids))

    @invariant()
    def within_the_limit(self) -> None:
        if hasattr(self, "table"):
            assert len(self.table) - self.table.rows.on_disk <= self.hot_rows


TieredComparison.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestBoundsOfATieredTableAreTheirReference = TieredComparison.TestCase
