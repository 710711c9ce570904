"""Marks: each consumer of changes learns all of them, whatever the others do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.settings import OptimizerSettings, TableSettings
from ps.table import EmbeddingTable


def make() -> EmbeddingTable:
    return EmbeddingTable(TableSettings(dim=1, optimizer=OptimizerSettings(kind="sgd")), 1)


def change(table: EmbeddingTable, *ids: int) -> None:
    table.apply_gradients(np.array(ids), np.ones((len(ids), 1), np.float32))


def test_a_mark_lists_what_changes_after_it_and_not_what_did_before():
    table = make()
    change(table, 1, 2)
    mark = table.mark()
    assert table.touched_since(mark).size == 0
    change(table, 2, 3)
    table.remove(np.array([1]))
    assert sorted(table.touched_since(mark, move=False)) == [1, 2, 3]
    assert sorted(table.touched_since(mark)) == [1, 2, 3]
    assert table.touched_since(mark).size == 0
    assert sorted(table.touched()) == [1, 2, 3]


def test_one_consumer_takes_nothing_from_another():
    table = make()
    fast, slow = table.mark(), table.mark()
    for i in range(5):
        change(table, i, 100)
        assert sorted(table.touched_since(fast)) == [i, 100]
    assert sorted(table.touched_since(slow)) == [0, 1, 2, 3, 4, 100]


def test_a_forgotten_mark_is_none_and_its_place_serves_the_next():
    table = make()
    first, second = table.mark(), table.mark()
    with pytest.raises(ValueError, match="all marks of this table are in use"):
        table.mark()
    change(table, 7)
    table.forget(first)
    for call in (table.touched_since, table.forget):
        with pytest.raises(ValueError, match="no such mark"):
            call(first)
    again = table.mark()
    assert table.touched_since(again).size == 0
    change(table, 7)
    assert table.touched_since(again).tolist() == [7]
    assert table.touched_since(second).tolist() == [7]


@pytest.mark.parametrize("mark", [-1, 3, 2**40])
def test_a_number_that_is_no_mark_is_refused(mark: int):
    with pytest.raises((ValueError, TypeError)):
        make().touched_since(mark)


def test_a_long_list_has_every_id_also_in_a_copy_and_gives_its_memory_back():
    table, ids = make(), np.arange(300_000)
    ones = np.ones((len(ids), 1), np.float32)
    table.apply_gradients(ids, ones)
    for _ in range(2):  # the first leaves its memory to the second
        table.touched()
    memory_bytes = table.memory_bytes
    table.apply_gradients(ids, ones)
    assert table.memory_bytes > memory_bytes + 8 * len(ids)
    table.remove(ids[:1000])
    for each in (table.clone(), table):
        assert np.array_equal(np.sort(each.touched()), ids)
        assert each.touched().size == 0
    assert table.memory_bytes == memory_bytes


def test_long_lists_of_two_marks_are_whole_and_go_with_their_mark():
    table, ids = make(), np.arange(300_000)
    mark = table.mark()
    table.apply_gradients(ids, np.ones((len(ids), 1), np.float32))
    assert np.array_equal(np.sort(table.touched()), ids)
    assert np.array_equal(np.sort(table.touched_since(mark, move=False)), ids)
    with_list_bytes = table.memory_bytes
    table.forget(mark)
    assert table.memory_bytes < with_list_bytes - 8 * len(ids)


@given(st.lists(st.tuples(st.sampled_from("crm"), st.integers(0, 5)), max_size=60))
def test_marks_are_sets(steps: list[tuple[str, int]]):
    table = make()
    expected = {mark: set() for mark in (0, table.mark(), table.mark())}
    for what, number in steps:
        if what == "m":
            mark = number % 3
            assert set(table.touched_since(mark).tolist()) == expected[mark]
            expected[mark] = set()
            continue
        if what == "c":
            change(table, number)
        elif not table.remove(np.array([number])):
            continue
        for ids in expected.values():
            ids.add(number)


def test_no_mark_loses_an_id_while_others_move():
    table, ids = make(), np.arange(20_000)
    marks = [table.mark(), table.mark()]
    seen: dict[int, list[np.ndarray]] = {mark: [] for mark in marks}

    def write() -> None:
        for part in np.array_split(ids, 200):
            change(table, *part)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            for mark in marks:
                seen[mark].append(table.touched_since(mark))
        writing.result()
    for mark in marks:
        seen[mark].append(table.touched_since(mark))
        assert np.array_equal(np.sort(np.concatenate(seen[mark])), ids)
