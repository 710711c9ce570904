"""Where ids go is part of the format: these values must never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.router import MAX_SHARDS, shard_of, shard_of_name

IDS = np.array([0, 1, 2, 3, 7, 1000, -1, 2**63 - 1, -(2**63)], np.int64)


@pytest.mark.parametrize(
    ("shards", "expected"),
    [
        (1, [0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (2, [0, 1, 1, 1, 0, 1, 1, 1, 0]),
        (3, [0, 2, 1, 1, 0, 2, 1, 1, 0]),
        (10, [0, 3, 4, 1, 6, 2, 1, 4, 6]),
        (1024, [0, 584, 75, 170, 696, 855, 604, 863, 94]),
    ],
)
def test_ids_go_where_they_always_went(shards, expected):
    assert shard_of(IDS, shards).tolist() == expected


def test_names_go_where_they_always_went():
    assert [shard_of_name(name, 8) for name in ("dense/kernel", "dense/bias", "")] == [0, 6, 7]


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_with_one_more_shard_ids_stay_or_go_to_the_new_one(shards, seed):
    ids = np.random.default_rng(seed).integers(-(2**63), 2**63, 2000)
    before, after = shard_of(ids, shards), shard_of(ids, shards + 1)
    assert np.all((before == after) | (after == shards))
    assert (before != after).mean() < 2 / (shards + 1) + 0.05


@pytest.mark.parametrize("shards", [2, 3, 8, 64])
@pytest.mark.parametrize("stride", [1, 2, 64, 1 << 32])
def test_dense_ids_spread_evenly_whatever_their_stride(shards, stride):
    ids = np.arange(200_000, dtype=np.int64) * stride
    counts = np.bincount(shard_of(ids, shards), minlength=shards)
    assert counts.max() < 1.15 * len(ids) / shards
    assert counts.min() > 0.85 * len(ids) / shards


def test_there_are_bounds_to_the_number_of_shards():
    with pytest.raises(ValueError, match="1 to 1024"):
        shard_of(IDS, MAX_SHARDS + 1)
    with pytest.raises(ValueError, match="1 to 1024"):
        shard_of(IDS, 0)
