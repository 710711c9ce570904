"""What rows read as that are kept as float16 or int8: rounded once, within a bound, the same everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ps.reference import stored
from ps.settings import InitializerSettings, TableSettings
from ps.table import EmbeddingTable

FORMATS = ["float32", "float16", "int8"]
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 3, 7, 8, 9, 16, 33])).flatmap(
    lambda shape: arrays(np.float32, shape, elements=finite)
)


def kept_as(rows: np.ndarray, kind: str, **options: object) -> np.ndarray:
    """`rows` after they were assigned to a table of this format."""
    table = EmbeddingTable(TableSettings(dim=rows.shape[1]), 1, optimizer=False, rows=kind, **options)
    ids = np.arange(len(rows))
    table.assign(ids, rows)
    return table.lookup(ids)


def bits(values: np.ndarray) -> list[list[int]]:
    return values.view(np.uint32).tolist()


@given(matrices, st.sampled_from(FORMATS))
def test_rows_are_those_of_the_reference_with_avx2_and_without(rows: np.ndarray, kind: str):
    expected = bits(stored(rows, kind))
    assert bits(kept_as(rows, kind)) == expected
    assert bits(kept_as(rows, kind, portable=True)) == expected


@given(matrices, st.sampled_from(FORMATS))
def test_a_row_that_was_read_and_is_assigned_again_stays_the_same_bits(rows: np.ndarray, kind: str):
    once = kept_as(rows, kind)
    assert bits(kept_as(once, kind)) == bits(once)


@pytest.mark.parametrize("portable", [False, True])
def test_every_float16_reads_as_itself(portable: bool):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)].reshape(-1, 16)
    assert bits(kept_as(halves, "float16", portable=portable)) == bits(halves)


@pytest.mark.parametrize("portable", [False, True])
def test_float16_rounds_to_nearest_ties_to_even(portable: bool):
    low = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float32)
    high = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    tie = (low + high) / 2
    even = np.where(np.arange(0x7BFF) % 2 == 0, low, high)
    above, below = np.nextafter(tie, np.float32(np.inf)), np.nextafter(tie, np.float32(0))
    for values, expected in ((tie, even), (above, high), (below, low)):
        for sign in (np.float32(1), np.float32(-1)):
            rows = (sign * values)[:, None].repeat(9, axis=1)
            got = kept_as(rows, "float16", portable=portable)
            assert np.array_equal(got, np.broadcast_to((sign * expected)[:, None], rows.shape))


@given(matrices)
def test_float16_is_off_by_its_bound(rows: np.ndarray):
    most = np.clip(rows.astype(np.float64), -65504, 65504)
    assert (np.abs(kept_as(rows, "float16") - most) <= np.maximum(np.abs(most) * 2.0**-11, 2.0**-25)).all()


@given(matrices)
def test_int8_is_off_by_its_bound(rows: np.ndarray):
    largest = np.abs(rows.astype(np.float64)).max(axis=1, keepdims=True)
    bound = np.where(largest < 1.5e-36, largest, largest / 254 * (1 + 2.0**-14))
    assert (np.abs(kept_as(rows, "int8") - rows.astype(np.float64)) <= bound).all()


def test_int8_uses_its_whole_range():
    row = (np.arange(-127, 128) / 127).astype(np.float32)[None]
    assert len(np.unique(kept_as(row, "int8"))) == 255


def test_what_float16_cannot_hold_becomes_its_largest():
    row = np.array([[65519, 65520, 3e38, -3e38]], np.float32)
    assert kept_as(row, "float16").tolist() == [[65504, 65504, 65504, -65504]]


def test_a_row_of_zeros_stays_zeros():
    rows = np.zeros((1, 5), np.float32)
    assert bits(kept_as(-rows, "int8")) == bits(rows)
    assert bits(kept_as(-rows, "float16")) == bits(-rows)


@pytest.mark.parametrize("tiny", [2.0**-149, 100 * 2.0**-149, 1.4e-36])
def test_a_row_too_small_for_an_int8_scale_reads_as_zero(tiny: float):
    assert not kept_as(np.full((1, 9), tiny, np.float32), "int8").any()


GOLDEN = {
    "float16": [0x3DCCC000, 0xBE99A000, 0x3F19A000, 0xBF802000],
    "int8": [0x3DD1E3AC, 0xBE996174, 0x3F196174, 0xBF802752],
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_values_stay_put(kind: str):
    assert bits(kept_as(np.array([[0.1, -0.3, 0.6, -1.0012]], np.float32), kind)) == [GOLDEN[kind]]


@pytest.mark.parametrize("kind", FORMATS)
def test_absent_ids_read_as_their_exact_initial_values(kind: str):
    settings = TableSettings(dim=16, initializer=InitializerSettings(kind="normal"))
    ids = np.arange(1000)
    table = EmbeddingTable(settings, 5, optimizer=False, rows=kind)
    initial = EmbeddingTable(settings, 5).lookup(ids)
    assert np.array_equal(table.lookup(ids), initial)
    table.assign(ids, initial)
    table.remove(ids[500:])
    assert np.array_equal(table.lookup(ids[500:]), initial[500:])
    assert np.array_equal(table.lookup(ids[:500]), stored(initial[:500], kind))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dim", [1, 2, 3, 16, 1023, 1024])
def test_rows_of_any_width_keep_apart_and_are_reused(kind: str, dim: int):
    table = EmbeddingTable(TableSettings(dim=dim), 1, optimizer=False, rows=kind)
    ids = np.arange(2000)
    rows = stored(np.repeat((ids + 1).astype(np.float32)[:, None], dim, axis=1), kind)
    table.assign(ids, rows)
    assert table.remove(ids[::2].copy()) == 1000
    table.assign(ids[::2] + 5000, rows[::2].copy())
    assert np.array_equal(table.lookup(ids[1::2].copy()), rows[1::2])
    assert np.array_equal(table.lookup(ids[::2] + 5000), rows[::2])
    copy = table.clone()
    assert np.array_equal(copy.lookup(ids[1::2].copy()), rows[1::2])
    got_ids, got_rows, _, _ = table.items()
    assert np.array_equal(got_rows, copy.lookup(got_ids))


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_table_with_an_optimizer_keeps_float32(kind: str):
    with pytest.raises(ValueError, match="with an optimizer has rows of float32"):
        EmbeddingTable(TableSettings(), 1, rows=kind)


def test_narrow_rows_take_less_memory():
    def memory_bytes(kind: str) -> int:
        table = EmbeddingTable(TableSettings(dim=256), 1, optimizer=False, rows=kind)
        table.assign(np.arange(50_000), np.ones((50_000, 256), np.float32))
        return table.memory_bytes

    whole, half, quarter = (memory_bytes(kind) for kind in FORMATS)
    assert half < 0.6 * whole
    assert quarter < 0.37 * whole
