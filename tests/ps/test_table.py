"""What the table promises to those who use it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable, unique

EXTREMES = np.array([0, -1, 1, 2**63 - 1, -(2**63), 2**32, -(2**32)], np.int64)


def make(
    dim: int = 4, optimizer: str = "adagrad", kind: str = "uniform", **options: object
) -> EmbeddingTable:
    settings = TableSettings(
        dim=dim,
        optimizer=OptimizerSettings(kind=optimizer, learning_rate=0.5),
        initializer=InitializerSettings(kind=kind),
    )
    return EmbeddingTable(settings, 7, **options)


def ones(ids: np.ndarray, dim: int = 4) -> np.ndarray:
    return np.ones((len(ids), dim), np.float32)


def by_id(table: EmbeddingTable) -> dict[int, tuple[list[float], int, int]]:
    ids, rows, times, counts = table.items()
    return {
        i: (r, t, c)
        for i, r, t, c in zip(ids.tolist(), rows.tolist(), times.tolist(), counts.tolist(), strict=True)
    }


def test_an_absent_id_reads_as_its_initial_value_and_is_not_inserted():
    table = make()
    first = table.lookup(EXTREMES)
    assert len(table) == 0
    assert np.array_equal(first, table.lookup(EXTREMES))
    assert len(np.unique(first)) == first.size


def test_every_int64_is_a_key_of_its_own():
    table = make(optimizer="sgd", kind="zeros")
    for steps, row_id in enumerate(EXTREMES, start=1):
        for _ in range(steps):
            table.apply_gradients(np.array([row_id]), ones([row_id]))
    assert np.array_equal(table.lookup(EXTREMES)[:, 0], -0.5 * np.arange(1, len(EXTREMES) + 1))
    assert table.contains(EXTREMES).all()
    assert not table.contains(np.array([2, -2, 2**63 - 2, -(2**63) + 1])).any()


def test_a_new_row_starts_from_its_initial_value():
    table = make(optimizer="sgd")
    before = table.lookup(EXTREMES)
    table.apply_gradients(EXTREMES, ones(EXTREMES))
    assert np.array_equal(table.lookup(EXTREMES), before - np.float32(0.5))


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 40])
def test_each_of_three_gradients_of_an_id_counts(dim: int):
    table = make(dim, optimizer="sgd", kind="zeros")
    grads = np.arange(1, 4, dtype=np.float32)[:, None].repeat(dim, axis=1)
    table.apply_gradients(np.full(3, 5), grads)
    assert np.array_equal(table.lookup(np.array([5])), np.full((1, dim), -0.5 * 6))


def test_gradients_of_a_repeated_id_are_summed_into_one_step():
    repeated, single = make(placement_seed=1), make(placement_seed=2)
    ids = np.array([5, 9, 5, 5, 9, 1], np.int64)
    grads = np.arange(24, dtype=np.float32).reshape(6, 4)
    repeated.apply_gradients(ids, grads, ts_ms=3)
    unique = np.array([1, 5, 9], np.int64)
    sums = np.stack([grads[5], grads[0] + grads[2] + grads[3], grads[1] + grads[4]])
    single.apply_gradients(unique, sums, ts_ms=3)
    assert by_id(repeated) == by_id(single)


def test_update_time_is_the_latest_and_the_count_is_of_steps():
    table = make()
    ids = np.array([3], np.int64)
    for ts_ms in (50, 70, 60):
        table.apply_gradients(ids, ones(ids), ts_ms)
    assert by_id(table)[3][1:] == (70, 3)


def test_assign_of_embeddings_keeps_the_state_and_of_whole_rows_sets_it():
    table = make()
    ids = np.array([1, 2], np.int64)
    table.apply_gradients(ids[:1], ones(ids[:1]))
    table.assign(ids, np.full((2, 4), 9, np.float32), ts_ms=5)
    rows = by_id(table)
    assert rows[1] == ([9.0] * 4 + [np.float32(1.1)] * 4, 5, 1)
    assert rows[2] == ([9.0] * 4 + [np.float32(0.1)] * 4, 5, 0)
    table.assign(ids, np.full((2, 8), 3, np.float32), np.array([6, 7]), np.array([8, 9], np.uint32))
    assert by_id(table) == {1: ([3.0] * 8, 6, 8), 2: ([3.0] * 8, 7, 9)}


def test_the_last_of_repeated_ids_wins_an_assign():
    table = make()
    table.assign(np.array([1, 1, 1]), np.arange(12, dtype=np.float32).reshape(3, 4))
    assert table.lookup(np.array([1])).tolist() == [[8, 9, 10, 11]]


def test_a_removed_id_reads_as_its_initial_value_again():
    table = make()
    initial = table.lookup(EXTREMES)
    table.apply_gradients(EXTREMES, ones(EXTREMES))
    assert table.remove(np.concatenate([EXTREMES[:3], EXTREMES[:3], [12345]])) == 3
    assert np.array_equal(table.lookup(EXTREMES)[:3], initial[:3])
    assert len(table) == len(EXTREMES) - 3


def test_freed_rows_are_reused():
    table = make(dim=64)
    for start in range(0, 200_000, 20_000):
        ids = np.arange(start, start + 20_000)
        table.apply_gradients(ids, ones(ids, 64))
        if start == 0:
            once = table.memory_bytes
            table.touched()
        table.remove(ids)
        table.touched()
    assert table.memory_bytes < 1.3 * once  # segments fill up unevenly


def test_items_restore_into_an_equal_table():
    table = make(optimizer="adam", placement_seed=1)
    rng = np.random.default_rng(0)
    for step in range(5):
        table.apply_gradients(
            rng.integers(0, 3000, 1000), rng.normal(size=(1000, 4)).astype(np.float32), step
        )
    ids, rows, times, counts = table.items()
    other = make(optimizer="adam", placement_seed=2)
    other.assign(ids, rows, times, counts)
    assert by_id(other) == by_id(table)


def test_a_clone_goes_its_own_way():
    table = make()
    ids = np.arange(5000)
    table.apply_gradients(ids, ones(ids))
    copy = table.clone()
    kept = by_id(table)
    table.apply_gradients(ids, ones(ids))
    table.remove(ids[:100])
    assert by_id(copy) == kept
    copy.apply_gradients(ids + 2500, ones(ids))
    assert len(copy) == 7500
    assert len(table) == 4900


def test_a_clone_reuses_the_rows_that_were_free():
    table, ids = make(dim=64), np.arange(20_000)
    table.apply_gradients(ids, ones(ids, 64))
    table.remove(ids)
    copy = table.clone()
    memory_bytes = copy.memory_bytes
    copy.apply_gradients(ids, ones(ids, 64))
    assert copy.memory_bytes < 1.2 * memory_bytes


def test_touched_names_each_changed_id_once_until_it_is_cleared():
    table = make()
    ids = np.arange(10)
    table.apply_gradients(ids, ones(ids))
    table.apply_gradients(ids, ones(ids))
    assert sorted(table.touched(clear=False)) == list(range(10))
    assert sorted(table.touched()) == list(range(10))
    assert table.touched().size == 0
    table.assign(ids[:2], ones(ids[:2]))
    table.remove(ids[1:3])
    assert sorted(table.touched()) == [0, 1, 2]


def test_a_row_that_moved_in_and_out_is_touched_once():
    table = make()
    ids = np.arange(50)
    for _ in range(4):
        table.apply_gradients(ids, ones(ids))
        table.remove(ids)
    other = np.arange(100, 150)
    table.apply_gradients(other, ones(other))
    assert sorted(table.touched()) == [*range(50), *range(100, 150)]
    table.apply_gradients(other, ones(other))
    assert sorted(table.touched()) == list(other)


def test_ids_that_come_and_go_without_a_clear_take_no_more_memory():
    table, ids = make(), np.arange(1000)
    for cycle in range(60):
        table.apply_gradients(ids, ones(ids))
        table.remove(ids)
        if cycle == 2:
            memory_bytes = table.memory_bytes
    assert table.memory_bytes == memory_bytes


def test_touched_drops_none_of_many():
    table = make(dim=1, optimizer="sgd")
    ids = np.arange(300_000)
    table.apply_gradients(ids, ones(ids, 1))
    assert np.array_equal(np.sort(table.touched()), ids)


def test_a_serving_table_has_no_state_and_takes_no_gradients():
    table = EmbeddingTable(TableSettings(dim=4), 7, optimizer=False)
    ids = np.arange(3)
    table.assign(ids, ones(ids))
    assert table.row_floats == 4
    assert table.touched().size == 0
    with pytest.raises(ValueError, match="no optimizer"):
        table.apply_gradients(ids, ones(ids))


STATE_FLOATS = {
    "sgd": 0,
    "momentum": 4,
    "adagrad": 4,
    "rowwise_adagrad": 1,
    "adam": 9,
    "adamw": 9,
    "rmsprop": 4,
    "adadelta": 8,
    "ftrl": 8,
    "group_ftrl": 8,
}


@pytest.mark.parametrize(("optimizer", "floats"), STATE_FLOATS.items())
def test_row_floats_are_embedding_and_state(optimizer: str, floats: int):
    assert make(optimizer=optimizer).row_floats == 4 + floats


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0), (6, 3)])
def test_a_gradient_that_is_not_finite_is_refused_and_changes_nothing(bad: float, at: tuple[int, int]):
    table = make()
    table.apply_gradients(EXTREMES[:3], ones(EXTREMES[:3]))
    before = by_id(table)
    table.touched()
    grads = ones(EXTREMES)
    grads[at] = bad
    with pytest.raises(ValueError, match=r"NaN, infinite or beyond 1e\+12"):
        table.apply_gradients(EXTREMES, grads)
    with pytest.raises(ValueError, match="NaN or an infinite"):
        table.assign(EXTREMES, grads)
    assert by_id(table) == before
    assert table.touched().size == 0


@pytest.mark.parametrize(
    ("ids", "grads", "message"),
    [
        (
            np.arange(3, dtype=np.int32),
            np.ones((3, 4), np.float32),
            r"ids: int64\[n\] is needed, not int32\[3\]",
        ),
        (
            np.arange(3).reshape(3, 1),
            np.ones((3, 4), np.float32),
            r"ids: int64\[n\] is needed, not int64\[3, 1\]",
        ),
        (np.arange(6)[::2], np.ones((3, 4), np.float32), "ids: a C-contiguous array"),
        ([1, 2, 3], np.ones((3, 4), np.float32), r"ids: a NumPy array int64\[n\] is needed, not list"),
        (np.arange(3), np.ones((3, 4)), r"grads: float32\[3, 4\] is needed, not float64\[3, 4\]"),
        (np.arange(3), np.ones((3, 5), np.float32), r"grads: float32\[3, 4\] is needed, not float32\[3, 5\]"),
        (np.arange(3), np.ones((2, 4), np.float32), r"grads: float32\[3, 4\] is needed, not float32\[2, 4\]"),
        (np.arange(3), np.ones((4, 3), np.float32).T, "grads: a C-contiguous array"),
    ],
)
def test_a_wrong_array_is_refused_with_what_would_be_right(ids: object, grads: object, message: str):
    table = make()
    with pytest.raises(ValueError, match=message):
        table.apply_gradients(ids, grads)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (
            "lookup",
            {"out": np.empty((3, 5), np.float32)},
            r"out: float32\[3, 4\] is needed, not float32\[3, 5\]",
        ),
        ("lookup", {"out": np.empty((3, 4))}, r"out: float32\[3, 4\] is needed, not float64\[3, 4\]"),
        ("assign", {"rows": ones(np.arange(2))}, r"rows: float32\[3, 4\] is needed, not float32\[2, 4\]"),
        ("assign", {"rows": ones(np.arange(3), 5)}, r"rows: float32\[3, 4\] is needed, not float32\[3, 5\]"),
        (
            "assign",
            {"rows": ones(np.arange(3)), "ts_ms": np.zeros(3)},
            r"ts_ms: int64\[3\] is needed, not float64\[3\]",
        ),
        (
            "assign",
            {"rows": ones(np.arange(3)), "counts": np.zeros(2, np.uint32)},
            r"counts: uint32\[3\] is needed, not uint32\[2\]",
        ),
        *(
            (call, {"ids": np.arange(3, dtype=np.uint64)}, r"ids: int64\[n\] is needed, not uint64\[3\]")
            for call in ("lookup", "lookup_unique", "remove", "contains", "count")
        ),
    ],
)
def test_every_call_refuses_a_wrong_array_and_changes_nothing(
    call: str, arguments: dict[str, object], message: str
):
    table = make()
    table.apply_gradients(np.arange(3), ones(np.arange(3)), 5)
    table.touched()
    before = by_id(table)
    with pytest.raises(ValueError, match=message):
        getattr(table, call)(**({"ids": np.arange(3)} | arguments))
    assert by_id(table) == before
    assert table.touched().size == 0


def test_empty_batches_do_nothing():
    table, none = make(), np.empty(0, np.int64)
    assert table.lookup(none).shape == (0, 4)
    table.apply_gradients(none, ones(none))
    table.assign(none, ones(none))
    assert table.remove(none) == 0
    assert table.contains(none).shape == table.count(none).shape == (0,)
    assert [part.shape for part in table.lookup_unique(none)] == [(0,), (0,), (0, 4)]
    assert [a.shape for a in table.items()] == [(0,), (0, 8), (0,), (0,)]


def test_lookup_writes_into_a_given_array():
    table, out = make(), np.zeros((7, 4), np.float32)
    assert table.lookup(EXTREMES, out) is out
    assert np.array_equal(out, table.lookup(EXTREMES))


def test_count_is_how_often_an_id_was_updated():
    table = make()
    for _ in range(3):
        table.apply_gradients(np.array([4, 4]), ones([4, 4]))
    table.assign(np.array([5, 6]), ones([5, 6]), counts=np.array([2**28 - 2, 2**31], np.uint32))
    for _ in range(2):
        table.apply_gradients(np.array([5]), ones([5]))
    assert table.count(np.array([6, 4, 99, 5])).tolist() == [2**28 - 1, 3, 0, 2**28 - 1]


@given(st.lists(st.one_of(st.integers(-4, 4), st.integers(-(2**63), 2**63 - 1)), max_size=50))
def test_unique_and_where_each_id_is_among_them(ids: list[int]):
    batch = np.array(ids, np.int64)
    distinct, positions = unique(batch)
    assert distinct.tolist() == list(dict.fromkeys(ids))
    assert positions.dtype == np.int32
    assert np.array_equal(distinct[positions], batch)


def test_lookup_unique_reads_each_row_once_and_says_where_it_goes():
    table = make()
    ids = np.random.default_rng(0).integers(0, 3000, 20_000)
    table.apply_gradients(ids[:5000], ones(ids[:5000]))
    distinct, positions, rows = table.lookup_unique(ids)
    assert np.array_equal(distinct, unique(ids)[0])
    assert np.array_equal(positions, unique(ids)[1])
    assert rows.shape == (len(distinct), 4)
    assert np.array_equal(rows[positions], table.lookup(ids))


def test_more_ids_than_positions_can_count_are_refused():
    table, ids = make(), np.empty(2**31, np.int64)  # no memory until it is touched
    for call in (table.lookup_unique, table.contains, table.count, table.remove, unique):
        with pytest.raises(ValueError, match="ids: at most 2,147,483,647 in one call, not 2,147,483,648"):
            call(ids)


@pytest.mark.parametrize("dim", [0, -1, 1025])
def test_rows_have_1_to_1024_values(dim: int):
    with pytest.raises(ValueError, match="dim"):
        TableSettings(dim=dim)


@pytest.mark.parametrize("dim", [1, 3, 16, 17, 1024])
def test_rows_of_any_width_keep_apart(dim: int):
    table = make(dim=dim, optimizer="adam")
    ids = np.arange(3000)
    rows = np.repeat(ids.astype(np.float32)[:, None], table.row_floats, axis=1)
    table.assign(ids, rows, ids, ids.astype(np.uint32))
    got_ids, got_rows, times, counts = table.items()
    assert np.array_equal(got_rows, np.repeat(got_ids.astype(np.float32)[:, None], table.row_floats, axis=1))
    assert np.array_equal(got_ids, times)
    assert np.array_equal(got_ids, counts)
