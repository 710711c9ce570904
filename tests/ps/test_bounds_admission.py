"""An id gets a row when it has been seen often enough, within the window, or by chance."""

import threading

import numpy as np
import pytest

from ps.settings import AdmissionSettings, TableSettings
from ps.table import EmbeddingTable
from tests.ps.bounded import HOUR_MS, NOW_MS, has, learn, set_clock, table_with


def test_gradients_of_an_id_that_is_not_admitted_are_dropped_and_it_reads_as_its_initial_value():
    table = table_with(admission=AdmissionSettings(min_count=3))
    initial = table.lookup(np.array([5]))
    for _ in range(2):
        learn(table, [5, 5, 5])
        assert np.array_equal(table.lookup(np.array([5])), initial)
        assert (len(table), table.touched().tolist()) == (0, [])
    learn(table, [5])
    once = table_with()
    learn(once, [5])
    assert np.array_equal(table.lookup(np.array([5])), once.lookup(np.array([5])))
    counts = table.bounds_counts()
    assert (counts.refused, counts.admitted) == (2, 1)


def test_a_batch_that_is_refused_counts_as_no_sighting():
    table = table_with(admission=AdmissionSettings(min_count=2))
    bad = np.array([[1, 1, 1, np.nan]], np.float32)
    for ids in ([5], [5, 5]):
        with pytest.raises(ValueError, match="NaN, infinite or beyond"):
            table.apply_gradients(np.array(ids), np.repeat(bad, len(ids), 0), NOW_MS)
    learn(table, [5])
    assert has(table, [5]) == [False]


def test_a_sighting_that_has_left_the_window_admits_nobody():
    table = table_with(admission=AdmissionSettings(min_count=2, window_s=3600))
    set_clock(table, NOW_MS)
    learn(table, [5])
    set_clock(table, NOW_MS + 2 * HOUR_MS)
    learn(table, [5], NOW_MS + 2 * HOUR_MS)
    assert has(table, [5]) == [False]
    learn(table, [5], NOW_MS + 2 * HOUR_MS)
    assert has(table, [5]) == [True]


def test_a_row_that_was_removed_has_to_be_admitted_again():
    table = table_with(admission=AdmissionSettings(min_count=2))
    for expected in (False, True):
        learn(table, [5])
        assert has(table, [5]) == [expected]
    table.remove(np.array([5]))
    learn(table, [5])
    assert has(table, [5]) == [False]


def test_admission_by_chance_admits_the_stated_share_of_sightings_and_the_same_ids_each_run():
    ids = np.arange(20_000, dtype=np.int64)
    tables = [table_with(admission=AdmissionSettings(probability=0.2)) for _ in range(2)]
    for expected in (0.2, 0.36, 0.488):
        for table in tables:
            learn(table, ids)
        assert abs(len(tables[0]) / len(ids) - expected) < 0.02
    assert np.array_equal(tables[0].contains(ids), tables[1].contains(ids))
    other = EmbeddingTable(TableSettings(dim=4, admission=AdmissionSettings(probability=0.2)), 8)
    learn(other, ids)
    assert 0.02 < (other.contains(ids) & tables[0].contains(ids)).mean() < 0.15


def test_threads_that_sight_the_same_ids_admit_each_after_exactly_n():
    table = table_with(dim=1, admission=AdmissionSettings(min_count=40))
    ids = np.arange(2000, dtype=np.int64)

    def sight() -> None:
        for _ in range(13):
            learn(table, ids)
            table.lookup(ids)

    threads = [threading.Thread(target=sight) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table) == 0
    learn(table, ids)
    assert len(table) == len(ids)
    assert set(table.items()[3].tolist()) == {1}
