"""The filter counts in the memory and with the error that it states, and forgets what left the window."""

import numpy as np
import pytest

from ps import _core

HOUR_MS = 3_600_000


def sight(filter_: _core.AdmissionFilter, ids: np.ndarray) -> np.ndarray:
    admitted = np.empty(len(ids), np.bool_)
    filter_.sight(ids, admitted)
    return admitted


def count(filter_: _core.AdmissionFilter, ids: np.ndarray) -> np.ndarray:
    counts = np.empty(len(ids), np.uint32)
    filter_.count(ids, counts)
    return counts


def some(n: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + n, dtype=np.int64) * 7919


@pytest.mark.parametrize("min_count", [2, 3, 17, 300, 65_535])
def test_the_nth_sighting_admits_and_none_before(min_count):
    filter_ = _core.AdmissionFilter(min_count, 0, 1000, 1)
    ids = np.array([-(2**63), 0, 2**63 - 1], np.int64)
    for i in range(min_count - 1):
        assert not sight(filter_, ids).any(), i
    assert count(filter_, ids).tolist() == [min_count - 1] * 3
    assert sight(filter_, ids).all()
    assert not count(filter_, ids).any()


def test_every_tracked_id_keeps_its_count_up_to_the_stated_capacity():
    ids = some(100_000)
    filter_ = _core.AdmissionFilter(5, 0, len(ids), 1)
    for _ in range(3):
        assert not sight(filter_, ids).any()
    assert filter_.overflows == 0
    assert (count(filter_, ids) == 3).mean() > 0.99999


@pytest.mark.parametrize("tracked_ids", [1000, 100_000])
def test_a_tracked_id_takes_less_than_four_bytes_whatever_happens(tracked_ids):
    filter_ = _core.AdmissionFilter(65_535, 2 * HOUR_MS, tracked_ids, 1)
    before = filter_.bytes
    for hour in range(4):
        filter_.advance_to(hour * HOUR_MS)
        sight(filter_, some(tracked_ids, hour * tracked_ids))
    assert filter_.bytes == before
    assert 2 * tracked_ids <= before <= 4 * tracked_ids


@pytest.mark.parametrize(
    ("min_count", "bound"), [(2, 1.2e-7), (17, 1.91e-6), (257, 3.1e-5), (65_535, 7.82e-3)]
)
def test_ids_share_a_count_no_more_often_than_stated(min_count, bound):
    """Of a full filter, asked for ids that it never saw: what it has counted for them is another id's."""
    tracked_ids, asked = 50_000, 1_000_000
    filter_ = _core.AdmissionFilter(min_count, 0, tracked_ids, 1)
    sight(filter_, some(tracked_ids))
    assert filter_.false_share == pytest.approx(bound, rel=0.02)
    shared = np.count_nonzero(count(filter_, some(asked, tracked_ids)))
    expected = 0.9 * bound * asked
    assert shared <= expected + 5 * expected**0.5 + 1
    # Were it far rarer than stated, this would not measure what it says.
    assert shared >= expected - 5 * expected**0.5 - 1


def test_sightings_within_half_of_the_window_count_together_and_across_more_than_it_do_not():
    ids = some(500)
    for gap_ms, admits in [(0, True), (HOUR_MS, True), (2 * HOUR_MS, False), (50 * HOUR_MS, False)]:
        for offset_ms in (0, HOUR_MS // 3, HOUR_MS - 1):
            filter_ = _core.AdmissionFilter(2, 2 * HOUR_MS, 1000, 1)
            filter_.advance_to(offset_ms)
            sight(filter_, ids)
            filter_.advance_to(offset_ms + gap_ms)
            assert sight(filter_, ids).all() == admits, (gap_ms, offset_ms)


def test_each_sighting_ages_by_itself():
    ids = some(100)
    filter_ = _core.AdmissionFilter(4, 2 * HOUR_MS, 1000, 1)
    left = []
    for hour in range(5):
        filter_.advance_to(hour * HOUR_MS)
        left.append(int(count(filter_, ids[:1])[0]))
        if hour < 3:
            sight(filter_, ids)
    assert left == [0, 1, 1, 1, 0]


def test_what_has_aged_never_counts_again_however_large_the_filter_and_fast_the_time():
    ids = some(20_000)
    filter_ = _core.AdmissionFilter(17, 2 * HOUR_MS, 200_000, 1)
    filter_.advance_to(0)
    sight(filter_, ids)
    for hour in range(1, 9):
        filter_.advance_to(hour * HOUR_MS)
        assert (count(filter_, ids) != 0).mean() == (hour == 1), hour


def test_time_that_jitters_back_forgets_nothing_and_time_that_is_set_back_begins_anew():
    ids = some(100)
    filter_ = _core.AdmissionFilter(3, 2 * HOUR_MS, 1000, 1)
    for now_ms in (10 * HOUR_MS, 10 * HOUR_MS - 1, 10 * HOUR_MS):
        filter_.advance_to(now_ms)
        admitted = sight(filter_, ids)
    assert admitted.all()
    sight(filter_, ids)
    filter_.advance_to(0)
    assert not count(filter_, ids).any()


def test_a_filter_that_overflows_admits_nobody_early_and_goes_on_counting():
    tracked_ids = 10_000
    filter_ = _core.AdmissionFilter(3, 24 * HOUR_MS, tracked_ids, 1)
    filter_.advance_to(0)
    flood = some(30 * tracked_ids)
    admitted = [sight(filter_, part) for part in np.split(flood, 30)]
    # Each id came once: an admission could only come of three that share a cell.
    assert not np.concatenate(admitted).any()
    assert filter_.overflows >= 29
    regular = some(1000, len(flood))
    assert not sight(filter_, regular).any()
    assert not sight(filter_, regular).any()
    assert sight(filter_, regular).all()


def test_what_is_sighted_all_the_time_is_admitted_while_a_flood_passes():
    tracked_ids = 10_000
    filter_ = _core.AdmissionFilter(4, 24 * HOUR_MS, tracked_ids, 1)
    regular = some(100)
    admitted = np.zeros(100, np.bool_)
    for i in range(60):
        sight(filter_, some(1000, 1000 + 1000 * i))
        admitted |= sight(filter_, regular)
    assert admitted.all()
