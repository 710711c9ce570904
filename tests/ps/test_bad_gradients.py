"""A gradient that is NaN, infinite or absurd never gets into a row: refused, skipped or clipped."""

import re
from typing import get_args

import numpy as np
import pytest
from prometheus_client import generate_latest

from ps.metrics import ShardMetrics
from ps.push import MAX_GRADIENT, Tolerance
from ps.settings import OptimizerKind, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

BAD = (np.nan, np.inf, -np.inf, 2e12, -3e38)
IDS = np.array([5, 9, 5, -1, 9, 5])


def make(policy: str, kind: str = "adagrad", **more: float) -> EmbeddingTable:
    optimizer = OptimizerSettings(kind=kind, bad_gradients=policy, **more)
    return EmbeddingTable(TableSettings(dim=3, optimizer=optimizer), 1)


def gradients(at: int, value: float) -> np.ndarray:
    grads = np.random.default_rng(1).normal(size=(len(IDS), 3)).astype(np.float32)
    grads[at, 1] = value
    return grads


def contents(table: EmbeddingTable) -> list[tuple]:
    ids, rows, times, counts = (part.tolist() for part in table.items())
    return sorted(zip(ids, rows, times, counts, strict=True))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("at", [0, 4])
def test_skipped_rows_stay_as_they_are_and_the_others_learn(bad: float, at: int):
    skipping, good = make("skip"), make("refuse")
    grads, others = gradients(at, bad), IDS[at] != IDS
    for ts_ms in (3, 4):
        skipping.apply_gradients(IDS, grads, ts_ms)
        good.apply_gradients(IDS[others], grads[others], ts_ms)
    assert contents(skipping) == contents(good)
    assert sorted(skipping.touched()) == sorted(good.touched())
    assert (skipping.skipped_rows, skipping.clipped_rows) == (2, 0)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("at", [0, 3, 4])
def test_clipped_rows_learn_from_what_is_left(bad: float, at: int):
    clipping, good = make("clip", clipvalue=0.5), make("refuse", clipvalue=0.5)
    grads = gradients(at, bad)
    ids = np.unique(IDS)
    sums = np.array([grads[i == IDS].sum(axis=0, dtype=np.float32) for i in ids])
    clipping.apply_gradients(IDS, grads)
    good.apply_gradients(ids, np.clip(np.nan_to_num(sums, nan=0), -1e12, 1e12).astype(np.float32))
    assert np.array_equal(clipping.lookup(ids), good.lookup(ids))
    assert (clipping.skipped_rows, clipping.clipped_rows) == (0, 1)


@pytest.mark.parametrize("policy", ["skip", "clip"])
def test_a_bad_sum_of_good_gradients_is_bad_and_a_good_sum_of_bad_ones_is_good(policy: str):
    table = make(policy, clipnorm=1.0)
    table.apply_gradients(np.array([1, 1]), np.full((2, 3), 0.9e12, np.float32))
    assert table.skipped_rows + table.clipped_rows == 1
    table.apply_gradients(np.array([1, 1]), np.array([[3e12] * 3, [-3e12] * 3], np.float32))
    assert table.skipped_rows + table.clipped_rows == 1


@pytest.mark.parametrize("policy", ["skip", "clip"])
@pytest.mark.parametrize("kind", get_args(OptimizerKind))
def test_whatever_comes_no_row_of_any_kind_is_ever_not_finite(kind: str, policy: str):
    table = make(policy, kind, clipnorm=10.0)
    extremes = np.array([*BAD, MAX_GRADIENT, -MAX_GRADIENT, 1e-45, -1e-30, 0.0, 1.0], np.float32)
    rng = np.random.default_rng(2)
    for _ in range(30):
        table.apply_gradients(IDS, rng.choice(extremes, (len(IDS), 3)))
    rows = table.items()[1]
    assert len(rows) > 0
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("kind", get_args(OptimizerKind))
def test_the_largest_gradients_that_are_not_bad_leave_rows_finite(kind: str):
    table = make("refuse", kind)
    for sign in (1, 1, -1, 1):
        table.apply_gradients(IDS, np.full((len(IDS), 3), sign * MAX_GRADIENT, np.float32))
    assert np.isfinite(table.items()[1]).all()


TOLERANT = {
    "skipping": TableSettings(dim=3, optimizer=OptimizerSettings(bad_gradients="skip")),
    "clipping": TableSettings(dim=3, optimizer=OptimizerSettings(bad_gradients="clip", clipnorm=1.0)),
    "refusing": TableSettings(dim=3),
}
DENSE = OptimizerSettings(kind="adam", bad_gradients="skip")


def bad_push(make_push, *names: str):
    part = (np.array([1, 2]), np.array([[1, np.nan, 1], [1, 1, 1]], np.float32))
    return make_push(0, 5, tables=dict.fromkeys(names, part), dense={"w": np.full(2, np.inf, np.float32)})


def test_a_shard_counts_what_its_tables_skip_and_clip_and_refuses_the_rest(make_shard, make_push):
    shard = make_shard(tables=TOLERANT, dense_optimizer=DENSE)
    shard.initialize_dense({"w": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="table 'refusing': a gradient is NaN"):
        shard.push(bad_push(make_push, *TOLERANT))
    assert shard.marks() == {}
    assert shard.push(bad_push(make_push, "skipping", "clipping"))
    assert (len(shard.table("skipping")), len(shard.table("clipping"))) == (1, 2)
    text = generate_latest(ShardMetrics(shard).registry).decode()
    found = re.findall(r"^freshet_ps_(?:skipped|clipped)_\w+_total.*", text, re.MULTILINE)
    assert found == [
        'freshet_ps_skipped_rows_total{table="skipping"} 1.0',
        'freshet_ps_skipped_rows_total{table="clipping"} 0.0',
        'freshet_ps_skipped_rows_total{table="refusing"} 0.0',
        'freshet_ps_clipped_rows_total{table="skipping"} 0.0',
        'freshet_ps_clipped_rows_total{table="clipping"} 1.0',
        'freshet_ps_clipped_rows_total{table="refusing"} 0.0',
        "freshet_ps_skipped_tensors_total 1.0",
        "freshet_ps_clipped_tensors_total 0.0",
    ]


def test_a_client_sends_what_the_shards_tolerate_and_nothing_else(serve, connect, make_push):
    served = serve(2, tables=TOLERANT, dense_optimizer=DENSE)
    shards = connect(served.addresses, tolerance=Tolerance.of(TOLERANT, DENSE))
    shards.initialize_dense({"w": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="table 'refusing': a gradient is NaN"):
        shards.push(bad_push(make_push, *TOLERANT))
    shards.push(bad_push(make_push, "skipping", "clipping"))
    assert shards.marks() == [{0: 5}] * 2
    assert sum(shard.table("skipping").skipped_rows for shard in served.shards) == 1
