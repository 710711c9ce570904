"""Several threads in one call: the values of one, whole batches, no deadlock."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ps.settings import OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

DIM = 4
IDS = np.random.default_rng(1).permutation(24_000)


def make(threads: int, **options: object) -> EmbeddingTable:
    settings = TableSettings(dim=DIM, optimizer=OptimizerSettings(kind="adagrad"))
    return EmbeddingTable(settings, 1, threads=threads, initial_capacity_rows=1, **options)


def ones(ids: np.ndarray) -> np.ndarray:
    return np.ones((len(ids), DIM), np.float32)


def all_of(table: EmbeddingTable) -> list[list[object]]:
    items = table.items()
    order = np.argsort(items[0])
    return [column[order].tolist() for column in items]


@pytest.mark.parametrize("threads", [2, 64])
def test_any_number_of_threads_gives_the_values_of_one(threads: int):
    one, many = make(1), make(threads)
    repeated = np.concatenate([IDS, IDS[::3]])
    gradients = np.random.default_rng(2).normal(size=(len(repeated), DIM)).astype(np.float32)
    for step in range(2):
        for table in (one, many):
            table.apply_gradients(repeated, gradients, step)
            table.assign(IDS[step::3] + 100_000, gradients[: len(IDS[step::3])])
        removed = np.concatenate([IDS[step::5], IDS[step::5]])
        assert one.remove(removed) == many.remove(removed) == len(IDS[step::5])
    assert all_of(one) == all_of(many)
    asked = np.concatenate([IDS, IDS + 100_000])
    for name in ("lookup", "contains", "count"):
        assert np.array_equal(getattr(one, name)(asked), getattr(many, name)(asked))
    assert sorted(one.touched()) == sorted(many.touched())


def test_a_batch_of_one_segment_needs_no_second_thread():
    table = make(4)
    ids = np.zeros(20_000, np.int64)
    table.apply_gradients(ids, ones(ids))
    assert table.count(ids[:1]).tolist() == [1]
    assert np.array_equal(table.lookup(ids), np.repeat(table.lookup(ids[:1]), 20_000, axis=0))


def test_items_cuts_and_clones_hold_each_batch_of_many_threads_whole_or_not_at_all():
    table, done = make(3), threading.Event()

    def write() -> None:
        for step in range(40):
            table.apply_gradients(IDS, ones(IDS), step)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set():
            for times in (
                table.items()[2],
                table.clone().items()[2],
                np.concatenate([np.empty(0, np.int64), *(chunk[2] for chunk in table.cut())]),
            ):
                assert len(times) in (0, len(IDS))
                assert len(np.unique(times)) <= 1
        writing.result()


def test_calls_of_many_threads_get_by_each_other():
    table = make(3)

    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(10):
            ids = rng.permutation(IDS)[: rng.integers(12_000, 24_000)]
            table.lookup(ids)
            table.apply_gradients(IDS, ones(IDS))
            table.items()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (table.count(IDS) == 40).all()


NO_THREADS = """
import resource
import numpy as np
from ps.settings import TableSettings
from ps.table import EmbeddingTable

ids = np.arange(30_000)
grads, out = np.ones((30_000, 4), np.float32), np.empty((30_000, 4), np.float32)
table = EmbeddingTable(TableSettings(dim=4), 1, threads=3, initial_capacity_rows=100_000)
for start in range(0, 30_000, 5000):
    table.apply_gradients(ids[start : start + 5000], grads[:5000])  # too few for a second thread
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 20), -1))  # a thread's stack is larger
import threading
try:
    threading.Thread(target=print).start()
    raise SystemExit("there are threads")
except RuntimeError:
    pass
for _ in range(3):
    table.apply_gradients(ids, grads)
    table.lookup(ids, out)
assert (table.count(ids) == 4).all()
print("done")
"""


def test_where_no_thread_can_be_had_the_caller_does_it_all():
    done = subprocess.run([sys.executable, "-c", NO_THREADS], capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr
