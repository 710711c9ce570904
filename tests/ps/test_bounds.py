"""A bounded table removes what is old, and never outgrows its limits."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ps.bounds import ROSTER_BYTES, BoundsError, Policy, rows_in, share_of
from ps.reference import ReferenceTable
from ps.settings import AdmissionSettings, ExpirySettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable
from tests.ps.bounded import BATCHES_OF_CLOCK, HOUR_MS, NOW_MS, has, learn, set_clock, table_with


def test_rows_expire_after_their_time_and_only_then():
    table = table_with(expiry=ExpirySettings(after_s=3600))
    ids = np.arange(1000)
    learn(table, ids)
    table.touched()
    for minute in range(0, 60, 2):
        learn(table, ids[:100], NOW_MS + minute * 60_000)
    set_clock(table, NOW_MS + HOUR_MS)
    assert len(table) == 1000
    set_clock(table, NOW_MS + HOUR_MS + HOUR_MS // 4)
    assert has(table, ids) == [True] * 100 + [False] * 900
    assert sorted(table.touched().tolist()) == ids.tolist()
    assert table.bounds_counts().expired == 900


@pytest.mark.parametrize("wrong_ms", [365 * 24 * HOUR_MS, 2**62])
def test_batches_from_the_future_do_not_move_the_clock_and_expire_nothing(wrong_ms):
    table = table_with(expiry=ExpirySettings(after_s=3600))
    learn(table, np.arange(1000))
    set_clock(table, NOW_MS)
    for _ in range(15):
        learn(table, [-1], NOW_MS + wrong_ms)
    assert table.now_ms == NOW_MS
    assert len(table) == 1001


def test_a_row_from_the_future_lives_no_longer_than_one_that_was_updated_now():
    table = table_with(expiry=ExpirySettings(after_s=3600))
    set_clock(table, NOW_MS)
    learn(table, [1], 2**62)
    learn(table, [2], NOW_MS + 30 * 60_000)
    set_clock(table, NOW_MS + HOUR_MS // 2)
    set_clock(table, NOW_MS + 2 * HOUR_MS)
    assert has(table, [1, 2]) == [False, False]


def test_a_batch_looks_at_no_more_rows_than_a_slice_however_many_have_expired():
    table = table_with(dim=1, expiry=ExpirySettings(after_s=3600))
    learn(table, np.arange(50_000))
    set_clock(table, NOW_MS)
    left, removed = len(table), []
    for _ in range(BATCHES_OF_CLOCK):
        learn(table, [], NOW_MS + 5 * HOUR_MS)
        removed.append(left - len(table))
        left = len(table)
    assert max(removed) == 4096
    assert left == 0


def test_expire_removes_all_that_is_old_at_once():
    table = table_with(dim=1, expiry=ExpirySettings(after_s=1e6))
    learn(table, np.arange(50_000))
    for _ in range(16):
        learn(table, [-1], NOW_MS + 2_000_000_000)
    set_clock_slowly = len(table)
    assert set_clock_slowly == 50_001
    for _ in range(15):
        table.apply_gradients(np.empty(0, np.int64), np.empty((0, 1), np.float32), NOW_MS)
    assert list(table.expire()) == list(range(50_001 - 4096, 0, -4096))
    assert has(table, [-1, 0]) == [True, False]


def test_expire_misses_none_of_the_old_ones_among_others():
    table = table_with(dim=1, expiry=ExpirySettings(after_s=1e6))
    ids = np.random.default_rng(1).permutation(50_000)
    learn(table, ids[:30_000], NOW_MS)
    learn(table, ids[30_000:], NOW_MS + 2_000_000_000)
    for _ in range(29):
        learn(table, [], NOW_MS + 1_500_000_000)
    list(table.expire())
    assert sorted(table.items()[0]) == sorted(ids[30_000:])


FLOODS: dict[str, Callable[[int], Any]] = {
    "new ids each": lambda i: np.arange(500) + 500 * i,
    "one new id each": lambda i: [i],
    "more than fit": lambda i: np.arange(3000) + 3000 * i,
    "mostly known": lambda i: np.arange(900) + 30 * i,
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("when_full", ["oldest", "least_frequent", "refuse"])
def test_a_table_never_has_more_rows_than_it_may_during_a_flood(flood, when_full):
    table = table_with(dim=1, max_rows=1000, when_full=when_full)
    for i in range(300 if flood == "one new id each" else 60):
        learn(table, FLOODS[flood](i), NOW_MS + i)
        assert len(table) <= 1000
    counts = table.bounds_counts()
    assert counts.admitted == len(table) + counts.evicted
    if when_full == "refuse":
        assert counts.evicted == 0
    elif flood != "one new id each":
        assert len(table) == 1000
        assert counts.evicted > 1000


@pytest.mark.parametrize("count", [1000, 2048])
def test_what_is_removed_to_make_room_is_old_and_reported(count):
    table = table_with(dim=1, max_rows=10 * count)
    for i in range(10):
        learn(table, np.arange(count) + count * i, NOW_MS + i)
    table.touched()
    learn(table, np.arange(count) + 50_000, NOW_MS + 10)
    gone = np.flatnonzero(~table.contains(np.arange(10 * count, dtype=np.int64)))
    assert len(gone) == count
    # Of eight random rows for each that goes, the oldest: hardly any is outside of the oldest fifth.
    assert (gone < 2 * count).mean() > 0.95
    assert sorted(table.touched()) == sorted([*gone, *(np.arange(count) + 50_000)])


@pytest.mark.parametrize("when_full", ["oldest", "least_frequent"])
def test_rows_of_a_batch_are_its_own_though_it_removes_others_and_their_places_go_to_its_new_ids(when_full):
    """Known and new ids by turns, more than the pipeline holds, in a full table: no row is another's."""
    settings = TableSettings(dim=2, max_rows=700, when_full=when_full, expiry=ExpirySettings(after_s=3))
    table, reference = EmbeddingTable(settings, 7, threads=1), ReferenceTable(settings, 7)
    rng = np.random.default_rng(4)
    for step in range(60):
        known = rng.permutation(reference.items()[0])[: rng.integers(0, 400)]
        new = np.arange(300) + 10_000 * (step + 1)
        batch = rng.permutation(np.concatenate([known, new, rng.choice(new, 20)]))
        grads = rng.normal(size=(len(batch), 2)).astype(np.float32)
        for each in (table, reference):
            each.apply_gradients(batch, grads, NOW_MS + 2000 * step)
        assert has(table, known) == reference.contains(known).tolist()
        ours, theirs = table.items(), reference.items()
        for our, their in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(our[np.argsort(ours[0])], their[np.argsort(theirs[0])])
    counts = table.bounds_counts()
    assert counts.evicted > 10_000
    assert counts.expired > 500 or when_full == "oldest"  # the oldest are evicted before they expire


def test_the_least_frequent_go_first_and_of_these_the_oldest():
    table = table_with(dim=1, max_rows=64, when_full="least_frequent")
    for _ in range(3):
        learn(table, np.arange(32))
    learn(table, np.arange(32, 48), NOW_MS + 2)
    learn(table, np.arange(48, 64), NOW_MS + 1)
    learn(table, np.arange(100, 116), NOW_MS + 3)
    assert has(table, np.arange(64)) == [True] * 48 + [False] * 16
    assert all(has(table, np.arange(100, 116)))


def test_a_full_table_that_refuses_takes_new_ids_again_when_rows_have_gone():
    table = table_with(dim=1, max_rows=2, when_full="refuse")
    learn(table, [1, 2, 3])
    assert has(table, [1, 2, 3]) == [True, True, False]
    table.remove(np.array([1]))
    learn(table, [4, 5])
    assert has(table, [1, 2, 3, 4, 5]) == [False, True, False, True, False]
    assert table.bounds_counts().full == 2


@pytest.mark.parametrize(
    ("dim", "kind", "max_bytes"),
    [
        (1, "sgd", 45 << 20),
        (1, "adagrad", 22 << 20),
        (16, "adagrad", 13 << 20),
        (16, "adagrad", 60 << 20),
        (100, "adagrad", 30 << 20),
    ],
)
def test_memory_stays_below_max_bytes_while_a_flood_passes(dim, kind, max_bytes):
    table = table_with(dim=dim, max_bytes=max_bytes, optimizer=OptimizerSettings(kind=kind))
    rows = rows_in(max_bytes, table.row_floats, ROSTER_BYTES)
    for start in range(0, 3 * rows, 50_000):
        learn(table, np.arange(start, start + 50_000), NOW_MS + start)
        table.touched()
        assert table.memory_bytes <= max_bytes
    assert len(table) == rows


def test_of_a_gibibyte_most_is_rows():
    assert 0.7 < rows_in(1 << 30, 32) * 4 * 32 / (1 << 30) < 1
    assert 0.8 < rows_in(1 << 30, 100) * 4 * 100 / (1 << 30) < 1


def test_a_limit_below_what_was_restored_is_come_down_to_a_slice_at_a_time():
    table = table_with(dim=1, max_rows=1000)
    table.assign(np.arange(10_000), np.zeros((10_000, 1), np.float32), NOW_MS)
    sizes = []
    while len(table) > 1000:
        learn(table, [0], NOW_MS)
        sizes.append(len(table))
    assert sizes == [7952, 5904, 3856, 1808, 1000]


def test_ids_that_come_and_are_removed_leave_no_longer_a_roster_than_twice_the_rows_and_a_thousand():
    table = table_with(dim=1, max_rows=1_000_000)
    for start in range(0, 50_000, 500):
        ids = np.arange(start, start + 500)
        learn(table, ids)
        table.remove(ids[5:])
        assert len(table.bounds_state().roster) <= 2 * len(table) + 1024


def test_memory_of_expired_rows_serves_the_next():
    table = table_with(dim=16, expiry=ExpirySettings(after_s=3600))
    peak = 0
    for hour in range(0, 60, 3):
        for _ in range(BATCHES_OF_CLOCK):
            learn(table, np.arange(500) + 500 * hour, NOW_MS + hour * HOUR_MS)
        table.touched()
        peak = max(peak, table.memory_bytes) if hour < 12 else peak
        assert hour < 12 or table.memory_bytes <= 1.1 * peak
    assert len(table) == 500


def test_threads_together_never_exceed_a_limit():
    table = table_with(dim=1, max_rows=500)
    most = []

    def flood(start: int) -> None:
        for i in range(40):
            learn(table, np.arange(100) + start + 100 * i, NOW_MS + i)
            most.append(len(table))

    threads = [threading.Thread(target=flood, args=(10_000 * t,)) for t in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 500


def test_a_dry_run_names_what_would_go_and_changes_nothing():
    table = table_with(dim=1)
    for i in range(4):
        learn(table, np.arange(10) + 10 * i, NOW_MS + i)
    learn(table, np.arange(10), NOW_MS)
    before = table.items()[0]
    assert sorted(table.would_remove(Policy(max_rows=20)).ids) == list(range(20))
    least = table.would_remove(Policy(max_rows=20, when_full="least_frequent")).ids
    assert sorted(least) == list(range(10, 30))
    assert not len(table.would_remove(Policy(max_rows=25, when_full="refuse")).ids)
    assert np.array_equal(table.items()[0], before)


def test_a_dry_run_of_expiry_without_a_clock_goes_by_the_newest_updates_but_those_from_the_future():
    table = table_with(dim=1)
    learn(table, range(30), NOW_MS)
    assert table.would_remove(Policy(after_s=1)).now_ms is None
    learn(table, range(100, 120), NOW_MS + HOUR_MS)
    learn(table, range(120, 135), 2**62)
    gone, now_ms = table.would_remove(Policy(after_s=1800))
    assert (sorted(gone), now_ms) == (list(range(30)), NOW_MS + HOUR_MS)


def test_a_dry_run_of_expiry_is_what_expiry_does():
    table = table_with(dim=1, expiry=ExpirySettings(after_s=3600))
    for i in range(40):
        learn(table, np.arange(100) + 10 * i, NOW_MS + i * HOUR_MS // 20)
    before = set(table.items()[0].tolist())
    named = set(table.would_remove(Policy(after_s=3600)).ids.tolist())
    list(table.expire())
    assert before - set(table.items()[0].tolist()) == named


def test_each_shard_keeps_to_its_share_of_the_limits():
    settings = TableSettings(
        max_rows=1001, max_bytes=10**9, admission=AdmissionSettings(min_count=2, tracked_ids=3001)
    )
    share = share_of(settings, 2)
    assert (share.max_rows, share.max_bytes, share.admission.tracked_ids) == (501, 500_000_000, 1501)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_bytes": 1000}, "max_bytes: 1000 hold no row; at least 838"),
        ({"admission": AdmissionSettings(min_count=2, probability=0.5)}, "either min_count or probability"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds, message):
    with pytest.raises(BoundsError, match=message):
        table_with(**bounds)


def test_a_table_without_optimizer_has_no_bounds():
    table = EmbeddingTable(TableSettings(dim=2, max_rows=1), 1, optimizer=False)
    table.assign(np.arange(10), np.zeros((10, 2), np.float32))
    assert len(table) == 10


def test_a_row_whose_gradient_is_skipped_is_not_spared_as_one_of_the_batch():
    settings = TableSettings(dim=2, max_rows=1, optimizer=OptimizerSettings(bad_gradients="skip"))
    for table in (EmbeddingTable(settings, 7), ReferenceTable(settings, 7)):
        table.assign(np.array([0]), np.ones((1, 2), np.float32), NOW_MS)
        grads = np.array([[np.nan, 1], [1, 1], [1, 1]], np.float32)
        table.apply_gradients(np.array([0, 1, 0]), grads, NOW_MS)
        assert table.contains(np.array([0, 1])).tolist() == [False, True]
