"""The map fills up before it grows, grows piece by piece, and no choice of ids spoils that."""

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ps.reference import mix
from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

N = 200_000
MULTIPLIER_INVERSE = pow(0xD6E8_FEB8_6659_FD93, -1, 2**64)


def make(**options: object) -> EmbeddingTable:
    settings = TableSettings(
        dim=1, initializer=InitializerSettings(kind="zeros"), optimizer=OptimizerSettings(kind="sgd")
    )
    return EmbeddingTable(settings, 1, **options)


def fill(table: EmbeddingTable, ids: np.ndarray, batch: int = 8192) -> list[float]:
    """Row i gets the value i; seconds of processor time of each call."""
    took = []
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        rows = np.arange(start, start + len(part), dtype=np.float32)[:, None]
        before = time.thread_time()
        table.assign(part, rows)
        took.append(time.thread_time() - before)
    return took


def unmix(hash_value: int, seed: int) -> int:
    x = hash_value
    for _ in range(2):
        x = (x ^ x >> 32) * MULTIPLIER_INVERSE % 2**64
    return (x ^ x >> 32) ^ seed


def as_int64(keys: list[int]) -> np.ndarray:
    return np.array(keys, np.uint64).view(np.int64)


def one_segment(n: int, seed: int) -> np.ndarray:
    """Ids whose hashes differ only in the 58 bits that come after those that choose a segment."""
    x = np.random.default_rng(0).integers(0, 2**58, n, np.uint64) | np.uint64(5 << 58)
    for _ in range(2):
        x = (x ^ x >> np.uint64(32)) * np.uint64(MULTIPLIER_INVERSE)
    return (x ^ x >> np.uint64(32) ^ np.uint64(seed)).view(np.int64)


SEQUENCES = {
    "ascending": np.arange(N),
    "descending from the minimum": -(2**63) + np.arange(N),
    "multiples of 4096": np.arange(N) * 4096,
    "multiples of 2^40": np.arange(N) << 40,
    "high half only": np.arange(N) << 32,
    "multiples of the golden ratio": (np.arange(N, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).view(
        np.int64
    ),
    "bits reversed": as_int64([int(f"{i:064b}"[::-1], 2) for i in range(N)]),
}


@cache
def load_of_random_ids(n: int) -> float:
    table = make(placement_seed=1)
    fill(table, np.random.default_rng(2).integers(-(2**63), 2**63 - 1, n))
    return len(table) / table.capacity


@pytest.mark.parametrize("name", SEQUENCES)
def test_any_sequence_keeps_the_load(name: str):
    table, ids = make(), SEQUENCES[name]
    fill(table, ids)
    assert np.array_equal(table.lookup(ids)[:, 0], np.arange(N))
    assert 0.6 < len(table) / table.capacity <= 0.95


@settings(max_examples=30)
@given(start=st.integers(-(2**63), 2**63 - 1), step=st.integers(1, 2**63 - 1))
@example(start=0, step=2**53)
def test_no_arithmetic_sequence_is_worse_than_random_ids(start: int, step: int):
    sequence = np.uint64(start % 2**64) + np.arange(20_000, dtype=np.uint64) * np.uint64(step)
    table = make(placement_seed=start % 2**64)
    fill(table, sequence.view(np.int64))
    # A step of a multiple of 2^50 comes round before there are 20,000.
    assert len(table) / table.capacity > 0.9 * load_of_random_ids(len(table))


def test_load_stays_high_at_every_size():
    # Above some 130,000 rows, where pieces no longer double.
    table, loads = make(), []
    for start in range(0, 2_000_000, 100_000):
        fill(table, np.arange(start, start + 100_000))
        loads.append(len(table) / table.capacity)
    assert min(loads[3:]) > 0.65
    assert max(loads) < 0.95


def test_a_map_is_nearly_full_before_it_grows():
    # One segment has one map up to some 13,000 keys.
    table, ids, loads = make(placement_seed=5, initial_capacity_rows=1), one_segment(13_000, seed=5), []
    other_segments = 63 / 64 * table.capacity
    for start in range(0, len(ids), 4):
        slots, keys = table.capacity - other_segments, len(table)
        fill(table, ids[start : start + 4])
        if table.capacity - other_segments > slots > 500:
            loads.append(keys / slots)
    assert min(loads) > 0.8
    assert max(loads) > 0.9


def test_hashes_chosen_with_a_known_seed_cost_time_but_no_row():
    seed = 99
    # All in one segment and one directory entry, however deep the directory is.
    keys = [unmix((0xABCDEF << 40) | i, seed) for i in range(60_000)]
    assert mix(keys[5], seed) == (0xABCDEF << 40) | 5
    table, ids = make(placement_seed=seed), as_int64(keys)
    fill(table, ids)
    assert np.array_equal(table.lookup(ids)[:, 0], np.arange(len(ids)))
    pieces_of_the_other_segments = 64 * 64
    assert table.capacity < len(ids) / 0.6 + pieces_of_the_other_segments + 14 * 4
    for _ in range(2):  # the list of one segment takes a block of 2 MiB, which is kept once
        table.touched()
    assert table.memory_bytes < 60 * len(ids)


def test_without_the_seed_they_are_ids_like_others():
    table, ids = make(), as_int64([unmix((0xABCDEF << 40) | i, 99) for i in range(60_000)])
    fill(table, ids)
    assert len(table) / table.capacity > 0.4


def test_no_call_waits_for_growth():
    # The same placement does the same work again: the least of three runs leaves out what else went on.
    runs = [fill(make(placement_seed=5), np.arange(1_000_000), batch=4096) for _ in range(3)]
    assert np.min(runs, axis=0).max() < 0.02


def test_growth_is_of_one_small_piece_at_a_time_whatever_the_size():
    # All in one segment, as if the table were 64 times as large.
    table, ids, capacities = make(placement_seed=5), one_segment(300_000, seed=5), []
    for start in range(0, len(ids), 100):
        fill(table, ids[start : start + 100])
        capacities.append(table.capacity)
    assert np.diff(capacities).max() <= 2 * 16_384
    assert len(table) / table.capacity > 0.6


def test_a_presized_table_has_room_for_what_it_was_made_for():
    table = make(initial_capacity_rows=100_000)
    before = table.capacity
    fill(table, np.arange(100_000))
    assert table.capacity == before


def test_a_small_table_is_small():
    table = EmbeddingTable(TableSettings(dim=16), 1)
    table.apply_gradients(np.arange(100), np.ones((100, 16), np.float32))
    assert table.memory_bytes < 2_000_000


def test_removed_and_inserted_again_a_hundred_times_it_does_not_grow():
    table = make()
    ids = np.arange(50_000)
    fill(table, ids)
    capacity = table.capacity
    for shift in range(0, 500_000, 5000):
        assert table.remove(ids[:5000] + shift) == 5000
        fill(table, np.arange(50_000 + shift, 55_000 + shift))
    assert len(table) == 50_000
    assert table.capacity <= 1.3 * capacity
