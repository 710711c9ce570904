"""Bounds of a table that is mostly on disk: over all its rows, in slices, and within the memory it has."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ps.bounds import DISK_SLICE_ROWS, BoundsError, Policy
from ps.settings import (
    LEAST_MEMORY_BYTES,
    AdmissionSettings,
    DiskSettings,
    ExpirySettings,
    OptimizerSettings,
    TableSettings,
)
from ps.tier import TieredTable

HOUR_MS = 3_600_000
NOW_MS = 1_764_000_000_000
DISK = DiskSettings(memory_bytes=LEAST_MEMORY_BYTES)


@pytest.fixture
def make_tiered(tmp_path: Path) -> Iterator[Callable[..., TieredTable]]:
    with ExitStack() as stack:

        def make(hot_rows: int | None = 20, **bounds: Any) -> TieredTable:
            settings = TableSettings(dim=2, disk=DISK, **bounds)
            table = TieredTable(settings, 1, tmp_path / "rows", LEAST_MEMORY_BYTES, hot_rows=hot_rows)
            stack.callback(table.close)
            return table

        yield make


def learn(table: TieredTable, ids: Any, ts_ms: int = NOW_MS) -> None:
    ids = np.asarray(ids, np.int64)
    table.apply_gradients(ids, np.ones((len(ids), 2), np.float32), ts_ms)


def set_clock(table: TieredTable, now_ms: int) -> None:
    for _ in range(31):
        learn(table, [], now_ms)


def on_disk(table: TieredTable, ids: np.ndarray) -> np.ndarray:
    return np.setdiff1d(ids, table.rows.hot.items()[0])


def test_an_id_on_disk_learns_without_being_admitted_anew(make_tiered):
    table = make_tiered(admission=AdmissionSettings(min_count=2))
    for _ in range(2):
        learn(table, range(100))
    cold = on_disk(table, np.arange(100))
    before = table.lookup(cold)
    learn(table, cold)
    assert len(cold) > 70
    assert (table.lookup(cold) != before).all()
    counts = table.bounds_counts()
    assert (counts.refused, counts.admitted) == (100, 100)


def test_an_id_whose_gradient_is_skipped_is_counted_and_gets_no_row(make_tiered):
    table = make_tiered(max_rows=10, optimizer=OptimizerSettings(bad_gradients="skip"))
    table.apply_gradients(np.array([1, 2]), np.array([[1, np.nan], [1, 1]], np.float32), NOW_MS)
    assert table.skipped_rows == 1
    assert table.contains(np.array([1, 2])).tolist() == [False, True]


def test_rows_on_disk_expire_and_are_reported(make_tiered):
    table = make_tiered(expiry=ExpirySettings(after_s=3600))
    set_clock(table, NOW_MS)
    learn(table, range(1000))
    learn(table, range(100), NOW_MS + HOUR_MS)
    table.touched()
    set_clock(table, NOW_MS + 2 * HOUR_MS)
    assert sorted(table.items()[0].tolist()) == list(range(100))
    assert sorted(table.touched().tolist()) == list(range(100, 1000))
    assert table.bounds_counts().expired == 900
    assert len(table) == 100


def test_a_batch_looks_at_no_more_rows_than_a_slice(make_tiered):
    table = make_tiered(expiry=ExpirySettings(after_s=3600))
    learn(table, range(1500))
    set_clock(table, NOW_MS)
    looked: list[int] = []
    stamps = table.rows.stamps
    table.rows.stamps = lambda ids: looked.append(len(ids)) or stamps(ids)
    set_clock(table, NOW_MS + 2 * HOUR_MS)
    assert max(looked) == DISK_SLICE_ROWS
    assert len(table) == 0


def test_a_limit_counts_rows_in_memory_and_on_disk(make_tiered):
    table = make_tiered(max_rows=500)
    for i in range(30):
        learn(table, np.arange(100) + 50 * i, NOW_MS + i)
        assert len(table) <= 500
    assert len(table) == len(table.items()[0]) == 500
    assert table.rows.on_disk > 450
    # The oldest of eight times as many: hardly any of the first half is left.
    assert (table.items()[0] < 50 * 15).mean() < 0.1


def test_a_row_on_disk_that_is_from_the_future_lives_no_longer_than_one_updated_now(make_tiered):
    table = make_tiered(expiry=ExpirySettings(after_s=3600))
    set_clock(table, NOW_MS)
    learn(table, range(100), 2**62)
    cold = on_disk(table, np.arange(100))
    table.touched()
    set_clock(table, NOW_MS + HOUR_MS // 2)
    times = dict(zip(table.items()[0].tolist(), table.items()[2].tolist(), strict=True))
    assert {times[i] for i in cold.tolist()} <= {NOW_MS, NOW_MS + HOUR_MS // 2}
    assert not len(table.touched())
    set_clock(table, NOW_MS + 2 * HOUR_MS)
    assert len(table) == 0


def test_a_dry_run_of_expiry_is_what_expiry_does(make_tiered):
    table = make_tiered(expiry=ExpirySettings(after_s=3600))
    for i in range(40):
        learn(table, np.arange(100) + 10 * i, NOW_MS + i * HOUR_MS // 20)
    before = set(table.items()[0].tolist())
    named = set(table.would_remove(Policy(after_s=3600)).ids.tolist())
    assert list(table.expire()) == list(range(len(before) - DISK_SLICE_ROWS, 0, -DISK_SLICE_ROWS))
    assert before - set(table.items()[0].tolist()) == named


def test_a_policy_is_tried_on_a_table_without_rows(make_tiered):
    assert not len(make_tiered().would_remove(Policy(after_s=1, max_rows=0)).ids)


def test_what_bounds_take_of_memory_is_not_there_for_rows(make_tiered):
    table = make_tiered(hot_rows=None, admission=AdmissionSettings(min_count=2, tracked_ids=8_000_000))
    for _ in range(2):
        for start in range(0, 200_000, 20_000):
            learn(table, np.arange(start, start + 20_000))
            table.touched()
            assert table.memory_bytes <= LEAST_MEMORY_BYTES
    assert len(table) == 200_000
    assert 0 < table.rows.on_disk < 190_000


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            {"max_bytes": 1 << 30},
            r"max_bytes: the memory of a table with a tier on disk is disk\.memory_bytes",
        ),
        ({"max_rows": 10_000_000}, r"disk\.memory_bytes: what admission and max_rows need of it, 90000000, "),
        ({"admission": AdmissionSettings(min_count=2, probability=0.5)}, "either min_count or probability"),
    ],
)
def test_bounds_that_make_no_sense_with_a_tier_are_refused_and_leave_the_disk(
    bounds, message, make_tiered, tmp_path
):
    with pytest.raises(BoundsError, match=message):
        make_tiered(**bounds)
    make_tiered()
