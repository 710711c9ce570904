"""A table with a tier on disk is the table: nothing shows where a row lies, and memory keeps its limit."""

import math
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tenacity import stop_after_delay

from ps import cold_rows
from ps.cold_rows import ColdRows, DiskError
from ps.moving_rows import MovingRows
from ps.settings import LEAST_MEMORY_BYTES, InitializerSettings, OptimizerSettings, TableSettings
from ps.table import SEGMENTS, EmbeddingTable
from ps.tier import TieredTable

DIM = 8
ADAM = TableSettings(dim=DIM, optimizer=OptimizerSettings(kind="adam", learning_rate=0.1))


@pytest.fixture
def make_tiered(tmp_path: Path) -> Iterator[Callable[..., TieredTable]]:
    with ExitStack() as stack:

        def make(
            hot_rows: int | None, settings: TableSettings = ADAM, path: Path = tmp_path / "rows"
        ) -> TieredTable:
            table = TieredTable(settings, 1, path, LEAST_MEMORY_BYTES, hot_rows=hot_rows)
            stack.callback(table.close)
            return table

        yield make


def sorted_items(table: Any) -> list[np.ndarray]:
    items = table.items()
    order = np.argsort(items[0])
    return [column[order] for column in items]


def assert_same(ours: Any, theirs: Any) -> None:
    for our, their in zip(sorted_items(ours), sorted_items(theirs), strict=True):
        np.testing.assert_array_equal(our, their)


def learn(tables: list[Any], ids: int, steps: int, batch: int) -> Iterator[None]:
    """Trains `tables` alike, by lookup and push as a trainer does, on ids of which few are often."""
    rng = np.random.default_rng(3)
    for step in range(steps):
        some = np.minimum(rng.exponential(ids / 4, batch).astype(np.int64), ids - 1) * 0x9E3779B97F4A7C1
        seen = [table.lookup(some) for table in tables]
        np.testing.assert_array_equal(seen[0], seen[1])
        for table in tables:
            table.apply_gradients(some, seen[0] - 1, step)
        yield


def test_a_table_ten_times_its_limit_trains_bit_by_bit_as_one_in_memory(make_tiered):
    tiered, whole = make_tiered(hot_rows=400), EmbeddingTable(ADAM, 1)
    for _ in learn([tiered, whole], ids=10_000, steps=40, batch=1000):
        assert len(tiered) - tiered.rows.on_disk <= 400
    assert len(tiered) == len(whole) > 10 * 400
    assert tiered.rows.promoted > 1000
    assert_same(tiered, whole)
    assert sorted(tiered.touched()) == sorted(whole.touched())


def test_memory_keeps_its_limit(make_tiered):
    tiered = make_tiered(hot_rows=None, settings=TableSettings(dim=1024))
    rng = np.random.default_rng(1)
    for _ in range(12):
        tiered.assign(rng.integers(0, 2**40, 1000), np.ones((1000, 2048), np.float32))
        assert tiered.memory_bytes <= LEAST_MEMORY_BYTES
    assert len(tiered) * 4 * 2048 > 1.4 * LEAST_MEMORY_BYTES


@pytest.mark.parametrize("row_floats", [1, 32, 700])
@pytest.mark.parametrize("mebibytes", [64, 85])
def test_so_many_rows_fit_into_a_limit_however_they_come_and_go(row_floats, mebibytes, tmp_path):
    settings = TableSettings(dim=row_floats, optimizer=OptimizerSettings(kind="sgd"))
    moving = MovingRows(settings, 1, tmp_path / "rows", mebibytes << 20)
    moving.close()
    table, rows, limit = moving.hot, moving.fitting(0), 3 * mebibytes << 18
    ids = np.random.default_rng(2).integers(-(2**63), 2**63 - 1, 2**22)
    part = rows // 4
    for start in range(0, min(3 * rows, len(ids)), part):
        table.touched()
        table.take_out(ids[max(0, start - 4 * part) : max(0, start - 3 * part)])
        table.assign(
            ids[start : start + part], np.ones((len(ids[start : start + part]), row_floats), np.float32)
        )
    table.touched()
    assert len(table) == 4 * part
    assert 0.4 * limit < table.memory_bytes < limit


def test_the_rows_that_go_are_those_whose_update_is_longest_ago(make_tiered):
    table = make_tiered(hot_rows=64 * 40)
    ids = np.arange(64 * 60)
    for start in range(0, len(ids), 64):
        part = ids[start : start + 64]
        table.apply_gradients(part, np.ones((64, DIM), np.float32), start)
    in_memory = next(table.cut())
    assert np.median(in_memory[0]) > len(ids) / 2
    assert len(ids) - 64 * 5 < np.max(in_memory[0])


def test_a_lookup_moves_nothing(make_tiered):
    table = make_tiered(hot_rows=100)
    ids = np.arange(1000)
    table.assign(ids, np.repeat(ids[:, None], DIM, 1).astype(np.float32))
    before = table.rows.on_disk, table.rows.promoted
    assert table.lookup(ids)[:, 0].tolist() == ids.tolist()
    assert table.contains(ids).all()
    assert (table.rows.on_disk, table.rows.promoted) == before


def test_a_removed_row_does_not_come_back_from_disk(make_tiered):
    table = make_tiered(hot_rows=10)
    ids = np.arange(50)
    table.assign(ids, np.ones((50, DIM), np.float32))
    table.apply_gradients(ids[:5].copy(), np.ones((5, DIM), np.float32))
    table.touched()
    assert table.remove(ids[:20].copy()) == 20
    assert table.contains(ids).sum() == len(table) == 30
    np.testing.assert_array_equal(
        table.lookup(ids[:20].copy()), EmbeddingTable(ADAM, 1).lookup(ids[:20].copy())
    )
    assert set(range(20)) <= set(table.touched().tolist())


def test_a_batch_larger_than_memory_that_is_refused_changes_nothing(make_tiered):
    table = make_tiered(hot_rows=10)
    ids = np.arange(40) % 30
    table.apply_gradients(ids, np.ones((40, DIM), np.float32))
    before = sorted_items(table)
    table.touched()
    bad = np.ones((40, DIM), np.float32)
    bad[39] = np.inf
    huge = np.full((40, DIM), 3e38, np.float32)
    for call in (lambda: table.apply_gradients(ids, bad), lambda: table.apply_gradients(ids, huge)):
        with pytest.raises(ValueError, match="NaN, infinite or beyond"):
            call()
    with pytest.raises(ValueError, match="NaN or an infinite"):
        table.assign(ids, bad)
    for ours, theirs in zip(sorted_items(table), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not len(table.touched())


def test_a_row_is_found_between_any_two_steps_of_a_move(make_tiered, monkeypatch):
    table, ids = make_tiered(hot_rows=10), np.arange(1, 51)
    rows = np.repeat(ids[:, None], DIM, 1).astype(np.float32)
    table.assign(ids, rows)
    steps = []

    def watch(part: Any, step: str) -> None:
        work = getattr(part, step)

        def watched(*arguments: Any) -> Any:
            np.testing.assert_array_equal(table.lookup(ids), rows)
            result = work(*arguments)
            np.testing.assert_array_equal(table.lookup(ids), rows)
            steps.append(step)
            return result

        monkeypatch.setattr(part, step, watched)

    for part, step in (
        (table.rows.cold, "write"),
        (table.rows.hot, "take_out"),
        (table.rows.hot, "put_back"),
    ):
        watch(part, step)
    # A new table's rows have no old copies on disk, which would hide that one is missing.
    more = np.arange(100, 150)
    ids, rows = np.concatenate([ids, more]), np.concatenate([rows, table.lookup(more)])
    for some in np.array_split(np.arange(100), 50):
        table.assign(ids[some], rows[some])
    assert {"write", "take_out", "put_back"} <= set(steps)


@pytest.mark.parametrize("change", ["apply_gradients", "assign"])
def test_an_id_that_is_often_in_a_batch_comes_back_once(make_tiered, change):
    table = make_tiered(hot_rows=100)
    table.assign(np.arange(1000), np.ones((1000, DIM), np.float32))
    for start in range(0, 1000, 10):
        getattr(table, change)(np.repeat(np.arange(start, start + 10), 2), np.ones((20, DIM), np.float32))
    assert len(table) == len(table.items()[0]) == 1000


def test_readers_see_whole_rows_while_rows_move(make_tiered):
    """Every float of a row is its id and its version; versions only grow."""
    zeros = InitializerSettings(kind="zeros")
    table = make_tiered(hot_rows=200, settings=TableSettings(dim=DIM, initializer=zeros))
    ids = np.arange(1, 2001)
    table.assign(ids, np.repeat(ids[:, None], DIM, 1).astype(np.float32))
    done = threading.Event()

    def write() -> None:
        rng = np.random.default_rng(1)
        for version in range(1, 30):
            some = np.unique(rng.choice(ids, 300))
            table.assign(some, np.repeat((some + 4096 * version)[:, None], DIM, 1).astype(np.float32))

    def read() -> None:
        rng = np.random.default_rng(threading.get_ident())
        versions = np.zeros(2001)
        while not done.is_set():
            some = np.unique(rng.choice(ids, 100))
            rows = table.lookup(some)
            assert (rows == rows[:, :1]).all()
            assert (rows[:, 0] % 4096 == some).all()
            assert (rows[:, 0] // 4096 >= versions[some]).all()
            versions[some] = rows[:, 0] // 4096
            assert table.contains(some).all()

    def cut() -> None:
        while not done.is_set():
            assert len(table.items()[0]) == len(ids)

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(job) for job in (read, read, cut)]
        try:
            write()
        finally:
            done.set()
        for other in others:
            other.result()
    assert table.rows.promoted > 2000


def test_a_cut_is_of_its_moment_however_late_it_is_read(make_tiered):
    table = make_tiered(hot_rows=100)
    ids = np.arange(1000)
    table.assign(ids, np.ones((1000, DIM), np.float32))
    late = table.cut()
    table.assign(ids, np.zeros((1000, DIM), np.float32))
    table.remove(ids[::2].copy())
    pieces = list(late)
    assert sorted(np.concatenate([piece[0] for piece in pieces])) == ids.tolist()
    assert all((piece[1][:, :DIM] == 1).all() for piece in pieces)


def test_the_directory_is_emptied_at_the_start_and_nobody_elses(make_tiered, tmp_path):
    table = make_tiered(hot_rows=10)
    table.assign(np.arange(100), np.ones((100, DIM), np.float32))
    with pytest.raises(DiskError, match=r"rows on disk in .*rows can't be opened: .*[lL]ock"):
        make_tiered(hot_rows=10)
    assert table.contains(np.arange(100)).all()
    table.close()
    assert len(make_tiered(hot_rows=10)) == 0


def test_too_little_memory_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"disk\.memory_bytes: a shard's part of a table needs 67108864"):
        TieredTable(ADAM, 1, tmp_path, LEAST_MEMORY_BYTES - 1)


def test_rows_that_are_taken_out_and_put_back_do_not_count_as_touched():
    table = EmbeddingTable(ADAM, 1)
    table.apply_gradients(np.arange(1000), np.ones((1000, DIM), np.float32), 5)
    before = sorted_items(table)
    table.touched()
    taken = [table.oldest(segment, 1000) for segment in range(SEGMENTS)]
    assert sum(table.take_out(rows[0]) for rows in taken) == 1000
    assert len(table) == 0
    for rows in taken:
        table.put_back(rows)
    for ours, theirs in zip(sorted_items(table), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not len(table.touched())


def test_the_oldest_rows_of_a_segment_are_chosen():
    table = EmbeddingTable(ADAM, 1)
    ids = np.arange(5000)
    table.assign(ids, np.ones((5000, DIM), np.float32), np.random.default_rng(1).permutation(5000))
    ages = dict(zip(table.items()[0].tolist(), table.items()[2].tolist(), strict=True))
    all_ids: list[int] = []
    for segment in range(SEGMENTS):
        of_segment, _, times, _ = table.oldest(segment, 5000)
        oldest, _, _, _ = table.oldest(segment, 9)
        assert sorted(ages[i] for i in oldest.tolist()) == np.sort(times)[:9].tolist()
        all_ids += of_segment.tolist()
    assert sorted(all_ids) == ids.tolist()


def test_find_is_lookup_and_contains():
    table = EmbeddingTable(ADAM, 1)
    table.apply_gradients(np.arange(10), np.ones((10, DIM), np.float32))
    some = np.array([3, 99, 3, -5, 9])
    rows, found = table.find(some)
    assert found.tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(rows, table.lookup(some))


@pytest.mark.stack
def test_a_full_disk_is_let_go_of(small_disk, fill):
    cold = ColdRows(small_disk / "rows", DIM, 1 << 20)
    filler = fill()
    columns = np.zeros((1000, DIM), np.float32), np.zeros(1000, np.int64), np.zeros(1000, np.uint32)
    cold.write((np.arange(1000), *columns))
    assert shutil.disk_usage(small_disk).free == 0
    cold.close()
    filler.unlink()
    anew = ColdRows(small_disk / "rows", DIM, 1 << 20)
    anew.write((np.arange(1000, 2000), *columns))
    assert anew.contains(np.array([999, 1000])).tolist() == [False, True]
    anew.close()


class Stalling:
    """RocksDB whose buffers stay full for so many writes."""

    def __init__(self, db: Any, times: float) -> None:
        self.db, self.times, self.is_closed = db, times, False

    def close(self) -> None:
        self.is_closed = True

    def write(self, batch: Any, options: Any) -> None:
        assert options.no_slowdown  # else the whole process would wait, on a full disk for ever
        self.db.write(batch, options)  # which empties the batch, as a refusal does
        self.times -= 1
        if self.times >= 0:
            raise Exception("Result incomplete: Write stall")


@pytest.fixture
def stall(tmp_path):
    """`stall(times)`: rows on disk, none yet, and a try to write five."""
    cold = ColdRows(tmp_path / "rows", DIM, 1 << 20)
    columns = np.ones((5, DIM), np.float32), np.zeros(5, np.int64), np.ones(5, np.uint32)
    db = cold._db

    def make(times: float) -> ColdRows:
        cold._db = Stalling(db, times)
        try:
            cold.write((np.arange(5), *columns))
        finally:
            cold._db = db
        return cold

    yield make
    cold.close()


def test_a_write_waits_while_the_disk_does_not_keep_pace(stall):
    assert stall(3).contains(np.arange(6)).tolist() == [True] * 5 + [False]


def test_a_disk_that_takes_nothing_any_more_is_told(stall, monkeypatch):
    impatient = cold_rows._UNTIL_FLUSHED.copy(stop=stop_after_delay(0.05))
    monkeypatch.setattr(cold_rows, "_UNTIL_FLUSHED", impatient)
    with pytest.raises(DiskError, match="the disk is full, or far too slow"):
        stall(math.inf)


def test_what_is_stuck_in_a_full_disk_is_not_waited_for_at_the_end(tmp_path, monkeypatch):
    cold = ColdRows(tmp_path / "rows", DIM, 1 << 20)
    db = cold._db
    stuck = cold._db = Stalling(db, math.inf)
    impatient = cold_rows._UNTIL_FLUSHED.copy(stop=stop_after_delay(0.05))
    monkeypatch.setattr(cold_rows, "_UNTIL_FLUSHED", impatient)
    with pytest.raises(DiskError):
        cold.remove(np.arange(5))
    cold.close()
    assert not stuck.is_closed
    db.close()
