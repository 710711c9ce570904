"""Initial rows are a pure function of (table seed, id): formats depend on these values."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps import _core
from ps.reference import ReferenceTable, mix
from ps.settings import InitializerSettings, TableSettings
from ps.table import EmbeddingTable

int64s = st.integers(-(2**63), 2**63 - 1)
IDS = np.array([0, 1, -1, 2**63 - 1, -(2**63)], np.int64)


def initial(kind: str, seed: int, ids: np.ndarray, dim: int = 3, scale: float = 0.5) -> np.ndarray:
    settings = TableSettings(dim=dim, initializer=InitializerSettings(kind=kind, scale=scale))
    return EmbeddingTable(settings, seed).lookup(ids)


@pytest.mark.parametrize(
    ("key", "seed", "value"),
    [
        (0x0, 0x0, 0x0000000000000000),
        (0x1, 0x0, 0x4179B061E0C0E0D0),
        (0xFFFFFFFFFFFFFFFF, 0x0, 0x448E29CED4103459),
        (0x0, 0x1, 0x4179B061E0C0E0D0),
        (0x2A, 0xFFFFFFFFFFFFFFFF, 0x2A61B957614E169E),
    ],
)
def test_hash_values_stay_put(key: int, seed: int, value: int):
    assert _core.mix(key, seed) == value == mix(key, seed)


GOLDEN = {
    "uniform": [
        [0xBD4089D4, 0xBD543DCC, 0xBED64941],
        [0x3EED6FB2, 0x3EBE1E92, 0xBDCEAF4D],
        [0xBE968C9A, 0x3E8DF5C7, 0xBEF0A6A0],
        [0xBED98E32, 0x3E5EE2D4, 0xBEAB6A7A],
        [0x3E8BB28E, 0x3DFA4B1C, 0x3C689FDA],
    ],
    "normal": [
        [0x3F565945, 0x3F505187, 0x3DD298F1],
        [0xBD3A62D3, 0xBE281C4B, 0x3F235E9F],
        [0x3E8AA75D, 0xBE974AB1, 0x3D1A0B16],
        [0x3DC1E278, 0xBEC7B57E, 0x3E5A7938],
        [0xBE9AAE92, 0xBF14FDB3, 0xBF8C45DD],
    ],
    "truncated_normal": [
        [0x3F3F33E2, 0x3F3AD1FC, 0x3DC8E366],
        [0xBD31E230, 0xBE203349, 0x3F16FD52],
        [0x3E83BD84, 0xBE8F9D6A, 0x3D13059F],
        [0x3DB8F6C3, 0xBEBCB75E, 0x3E4FF3DA],
        [0xBE92CB45, 0xBF0A9FEE, 0xBF65CCA1],
    ],
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_initial_rows_stay_put(kind: str):
    assert initial(kind, 1, IDS).view(np.uint32).tolist() == GOLDEN[kind]


@given(st.sampled_from(["uniform", "normal", "truncated_normal"]), st.lists(int64s, max_size=20), int64s)
def test_initial_rows_are_those_of_the_reference(kind: str, ids: list[int], seed: int):
    settings = TableSettings(dim=7, initializer=InitializerSettings(kind=kind))
    ours = EmbeddingTable(settings, seed, initial_capacity_rows=1).lookup(np.array(ids, np.int64))
    theirs = ReferenceTable(settings, seed).lookup(np.array(ids, np.int64))
    np.testing.assert_allclose(ours, theirs, rtol=0 if kind == "uniform" else 2e-7)


def test_initial_rows_do_not_depend_on_batch_order_thread_or_placement():
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5000)
    settings = TableSettings(dim=5, initializer=InitializerSettings(kind="normal"))
    table = EmbeddingTable(settings, 3, placement_seed=1)
    expected = EmbeddingTable(settings, 3, placement_seed=2).lookup(ids)
    order = np.random.default_rng(1).permutation(5000)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(table.lookup, np.array_split(ids[order], 37)))
    assert np.array_equal(np.concatenate(parts), expected[order])


def test_another_seed_gives_other_rows():
    ids = np.arange(1000)
    assert not (initial("uniform", 1, ids) == initial("uniform", 2, ids)).any()


def test_the_first_columns_do_not_depend_on_the_width():
    assert np.array_equal(initial("uniform", 1, IDS, dim=16)[:, :3], initial("uniform", 1, IDS, dim=3))


@pytest.mark.parametrize(
    ("kind", "deviation", "most"),
    [("uniform", 0.5 / 3**0.5, 0.5), ("normal", 0.5, 3.5), ("truncated_normal", 0.5 * 0.8796, 1.0)],
)
def test_distributions_have_their_moments(kind: str, deviation: float, most: float):
    values = initial(kind, 9, np.arange(100_000), dim=4).astype(np.float64)
    assert abs(values.mean()) < 0.003
    assert values.std() == pytest.approx(deviation, rel=0.005)
    assert np.abs(values).max() <= most
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.02
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.02


def test_constants_are_constant():
    assert (initial("constant", 1, IDS) == 0.5).all()
    assert (initial("zeros", 1, IDS) == 0).all()
