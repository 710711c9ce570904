"""A cut is the whole table as of one moment, though it is read while changes go on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable, Items

DIM = 8


def make(**options: object) -> EmbeddingTable:
    settings = TableSettings(dim=DIM, initializer=InitializerSettings(kind="zeros"))
    return EmbeddingTable(settings, 1, **options)


def ones(ids: np.ndarray) -> np.ndarray:
    return np.ones((len(ids), DIM), np.float32)


def sorted_by_id(chunks: list[Items]) -> list[list[object]]:
    columns = [np.concatenate(column) for column in zip(*chunks, strict=True)]
    return [column[np.argsort(columns[0])].tolist() for column in columns]


def test_a_cut_is_what_the_table_was_when_it_began():
    table, ids = make(initial_capacity_rows=1), np.arange(20_000)
    table.apply_gradients(ids, ones(ids), 3)
    before = sorted_by_id([table.items()])
    cut = table.cut(chunk_bytes=40_000)
    chunks = [next(cut)]
    for step in range(30):
        table.apply_gradients(ids[step::7].copy(), ones(ids[step::7]), 10 + step)
        table.remove(ids[step::11].copy())
        table.apply_gradients(ids + 20_000 * (step + 1), ones(ids))  # pieces are rebuilt
        chunks.append(next(cut))
    chunks += cut
    assert sorted_by_id(chunks) == before


def test_a_cut_misses_nothing_while_pieces_split():
    settings = TableSettings(dim=1, optimizer=OptimizerSettings(kind="sgd"))
    table, ids = EmbeddingTable(settings, 1), np.arange(700_000)
    table.apply_gradients(ids, np.ones((len(ids), 1), np.float32))
    cut = table.cut(chunk_bytes=40_000)
    got = [next(cut)[0] for _ in range(20)]
    for start in range(700_000, 1_400_000, 100_000):
        more = np.arange(start, start + 100_000)
        table.apply_gradients(more, np.ones((len(more), 1), np.float32))
        got += [next(cut)[0] for _ in range(5)]
    got += [chunk[0] for chunk in cut]
    assert np.array_equal(np.sort(np.concatenate(got)), ids)


def test_chunks_are_bounded():
    table, ids = make(), np.arange(10_000)
    table.apply_gradients(ids, ones(ids))
    row_bytes = 4 * table.row_floats
    sizes = [len(chunk[0]) for chunk in table.cut(chunk_bytes=100 * row_bytes)]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 100
    assert len(sizes) == 100


def test_a_cut_of_nothing_has_no_chunk():
    assert list(make().cut()) == []


def test_rows_put_into_a_new_cut_are_those_after_an_abandoned_one():
    table, ids = make(), np.arange(10_000)
    table.apply_gradients(ids, ones(ids))
    for step in range(4):
        cut = table.cut(chunk_bytes=10_000)
        for _ in range(step * 20):
            next(cut)
        table.apply_gradients(ids[::3].copy(), ones(ids[::3]), step)
        table.remove(ids[step : step + 1])
        cut.close()
        assert sorted_by_id(list(table.cut())) == sorted_by_id([table.items()])


def test_a_copy_made_while_a_cut_is_read_has_cuts_of_its_own():
    table, ids = make(), np.arange(5000)
    table.apply_gradients(ids, ones(ids))
    cut = table.cut(chunk_bytes=10_000)
    next(cut)
    copy = table.clone()
    assert sorted_by_id(list(copy.cut())) == sorted_by_id([copy.items()])
    assert len(list(cut)) > 1


def test_one_cut_at_a_time():
    table, ids = make(), np.arange(100)
    table.apply_gradients(ids, ones(ids))
    cut = table.cut()
    with pytest.raises(ValueError, match="another cut of this table is not read to its end"):
        table.cut()
    assert sum(len(chunk[0]) for chunk in cut) == 100
    table.cut().close()
    next(table.cut())  # and dropped
    assert sum(len(chunk[0]) for chunk in table.cut()) == 100


def test_a_cut_keeps_its_table_alive():
    table, ids = make(), np.arange(1000)
    table.apply_gradients(ids, ones(ids))
    cut = table.cut()
    del table
    assert sum(len(chunk[0]) for chunk in cut) == 1000


def test_only_rows_that_change_before_they_are_read_take_memory():
    table, ids = make(), np.arange(100_000)
    table.apply_gradients(ids, ones(ids))
    for _ in range(2):  # the first leaves its memory to the second
        table.touched()
    memory_bytes = table.memory_bytes
    cut = table.cut()
    assert table.memory_bytes == memory_bytes
    few = ids[:1000]
    table.apply_gradients(few, ones(few))
    table.touched()
    # Blocks of 256 KiB in each of the 64 segments, however few rows are in them.
    assert table.memory_bytes < memory_bytes + 64 * (1 << 18) * 1.5
    assert sum(len(chunk[0]) for chunk in cut) == 100_000
    assert table.memory_bytes == memory_bytes


def test_a_cut_holds_each_batch_whole_or_not_at_all():
    table, ids = make(), np.arange(5000)
    done = threading.Event()

    def write() -> None:
        for step in range(80):
            table.apply_gradients(ids, ones(ids), step)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set():
            chunks = list(table.cut(chunk_bytes=30_000))
            if chunks:
                _, rows, times, counts = (np.concatenate(column) for column in zip(*chunks, strict=True))
                assert len(rows) == 5000
                assert (rows == rows[0]).all()
                assert len(np.unique(times)) == len(np.unique(counts)) == 1
        writing.result()


def test_rows_of_a_cut_are_never_torn_while_others_write_and_remove():
    settings = TableSettings(dim=DIM, optimizer=OptimizerSettings(kind="sgd"))
    table, ids, done = (
        EmbeddingTable(settings, 1, initial_capacity_rows=1),
        np.arange(30_000),
        threading.Event(),
    )

    def write() -> None:
        for version in range(4):
            for part in np.array_split(ids, 30):
                rows = np.repeat((part + version * 100_000).astype(np.float32)[:, None], DIM, axis=1)
                table.assign(part, rows)
                table.remove(part[::7].copy())
        done.set()

    def look_up() -> None:
        while not done.is_set():
            rows = table.lookup(ids)
            assert (rows[rows[:, 0] > 1] == rows[rows[:, 0] > 1][:, :1]).all()

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(write), pool.submit(look_up)]
        while not done.is_set():
            for got, rows, _, _ in table.cut(chunk_bytes=20_000):
                assert (rows == rows[:, :1]).all()
                assert np.array_equal(rows[:, 0] % 100_000, got)
        for each in running:
            each.result()
