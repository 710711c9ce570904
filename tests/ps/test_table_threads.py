"""Readers and writers at once: no torn row, no lost step, no half batch."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

DIM = 24


def make(kind: str = "sgd", **options: object) -> EmbeddingTable:
    settings = TableSettings(
        dim=DIM,
        initializer=InitializerSettings(kind="zeros"),
        optimizer=OptimizerSettings(kind=kind, learning_rate=1.0),
    )
    return EmbeddingTable(settings, 1, **options)


def together(*jobs: Callable[[threading.Event], None]) -> None:
    """Run all; the first, when it ends, tells the others to."""
    done = threading.Event()

    def first() -> None:
        try:
            jobs[0](done)
        finally:
            done.set()

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(first), *(pool.submit(job, done) for job in jobs[1:])]:
            future.result()


def test_a_row_is_never_torn_while_the_table_grows_and_shrinks():
    table = make(initial_capacity_rows=1)
    ids = np.arange(60_000)

    def write(done: threading.Event) -> None:
        for version in range(1, 4):
            for part in np.array_split(ids, 60):
                rows = np.repeat((part + version * 100_000).astype(np.float32)[:, None], DIM, axis=1)
                table.assign(part, rows)
                table.remove(part[::7].copy())

    def read(done: threading.Event) -> None:
        rng = np.random.default_rng(threading.get_ident())
        while not done.is_set():
            some = rng.choice(ids, 2000)
            rows = table.lookup(some)
            assert (rows == rows[:, :1]).all()
            present = rows[:, 0] != 0
            assert np.array_equal(rows[present, 0] % 100_000, some[present])

    together(write, read, read)
    assert len(table) == 60_000 - sum(len(part[::7]) for part in np.array_split(ids, 60))


def test_no_step_is_lost_between_writers():
    table = make(initial_capacity_rows=1)
    ids = np.arange(3000)

    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            table.apply_gradients(rng.permutation(ids), np.ones((len(ids), DIM), np.float32))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (table.lookup(ids) == -160).all()
    assert (table.items()[3] == 160).all()


@pytest.mark.parametrize("kind", ["adagrad", "adamw", "group_ftrl"])
def test_items_and_clones_hold_each_batch_whole_and_state_of_the_same_step_or_not_at_all(kind: str):
    table = make(kind)
    ids = np.arange(5000)

    def write(done: threading.Event) -> None:
        for step in range(60):
            table.apply_gradients(ids, np.ones((len(ids), DIM), np.float32), step)

    def copy(done: threading.Event) -> None:
        while not done.is_set():
            for source in (table, table.clone()):
                _, rows, times, counts = source.items()
                assert (rows == rows[:1]).all()
                assert len(np.unique(times)) <= 1
                assert len(np.unique(counts)) <= 1

    together(write, copy)


def test_touched_loses_no_id_between_clears():
    table = make()
    ids = np.arange(20_000)
    seen: list[np.ndarray] = []

    def write(done: threading.Event) -> None:
        for part in np.array_split(ids, 200):
            table.apply_gradients(part, np.ones((len(part), DIM), np.float32))

    def collect(done: threading.Event) -> None:
        while not done.is_set():
            seen.append(table.touched())

    together(write, collect)
    seen.append(table.touched())
    assert np.array_equal(np.sort(np.concatenate(seen)), ids)


def test_lookups_of_many_threads_go_on_at_once():
    table = make()
    ids = np.arange(1000)
    table.assign(ids, np.repeat(ids.astype(np.float32)[:, None], DIM, axis=1))
    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(lambda _: table.lookup(ids), range(200)):
            assert np.array_equal(rows[:, 0], ids)


def test_lookups_are_right_while_rows_come_change_go_and_are_copied():
    # Every float of a row is its id times its generation; each writer has ids of its own.
    table = make("adagrad", initial_capacity_rows=1)
    groups = [np.arange(g * 500, g * 500 + 500) + 1 for g in range(60)]

    def rows(ids: np.ndarray, generation: int) -> np.ndarray:
        return np.repeat((ids * generation).astype(np.float32)[:, None], table.row_floats, axis=1)

    def generations(ids: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = values[:, :1] / ids[:, None]
        assert np.array_equal(values, np.repeat(found * ids[:, None], values.shape[1], axis=1))
        assert np.isin(found, np.arange(7)).all()
        return found[:, 0]

    def write(parity: int) -> Callable[[threading.Event], None]:
        def job(done: threading.Event) -> None:
            for generation in range(1, 7):
                for ids in groups[parity::2]:
                    table.assign(ids, rows(ids, generation), generation)
                    if generation % 2:
                        table.remove(ids)

        return job

    def read(done: threading.Event) -> None:
        rng = np.random.default_rng(threading.get_ident())
        while not done.is_set():
            ids = rng.integers(1, 60 * 500 + 1, 2000)
            generations(ids, table.lookup(ids))
            table.contains(ids)

    def copy(done: threading.Event) -> None:
        while not done.is_set():
            for source in (table, table.clone()):
                ids, values, times, _ = source.items()
                assert np.array_equal(generations(ids, values), times)
                of_group = np.bincount((ids - 1) // 500, minlength=60)
                assert np.isin(of_group, [0, 500]).all()
                _, first = np.unique((ids - 1) // 500, return_index=True)
                assert np.array_equal(times, np.repeat(times[first], 500)[np.argsort(np.argsort(ids))])

    def write_both(done: threading.Event) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda parity: write(parity)(done), [0, 1]))

    together(write_both, read, read, copy)
    ids = np.concatenate(groups)
    assert np.array_equal(generations(ids, table.lookup(ids)), np.full(len(ids), 6))
