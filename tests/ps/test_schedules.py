"""Learning rates are those of keras.optimizers.schedules."""

import keras
import numpy as np
import pytest

from ps.dense import DenseTensors
from ps.schedules import learning_rate
from ps.settings import OptimizerSettings, ScheduleSettings, TableSettings
from ps.table import EmbeddingTable

RATE, STEPS = 0.1, (0, 1, 7, 99, 100, 101, 199, 200, 250, 1000, 12345)
of_keras = keras.optimizers.schedules
DECAYS = {
    "exponential": (
        {"decay_steps": 100, "decay_rate": 0.9},
        of_keras.ExponentialDecay(RATE, decay_steps=100, decay_rate=0.9),
    ),
    "exponential in stairs": (
        {"decay_steps": 100, "decay_rate": 0.9, "staircase": True},
        of_keras.ExponentialDecay(RATE, decay_steps=100, decay_rate=0.9, staircase=True),
    ),
    "inverse_time": (
        {"decay_steps": 100, "decay_rate": 0.5},
        of_keras.InverseTimeDecay(RATE, decay_steps=100, decay_rate=0.5),
    ),
    "inverse_time in stairs": (
        {"decay_steps": 100, "decay_rate": 0.5, "staircase": True},
        of_keras.InverseTimeDecay(RATE, decay_steps=100, decay_rate=0.5, staircase=True),
    ),
    "polynomial, in a line": (
        {"decay_steps": 200, "end_learning_rate": 0.01},
        of_keras.PolynomialDecay(RATE, decay_steps=200, end_learning_rate=0.01),
    ),
    "polynomial": (
        {"decay_steps": 200, "end_learning_rate": 0.01, "power": 2.5},
        of_keras.PolynomialDecay(RATE, decay_steps=200, end_learning_rate=0.01, power=2.5),
    ),
    "cosine": (
        {"decay_steps": 200, "alpha": 0.05},
        of_keras.CosineDecay(RATE, decay_steps=200, alpha=0.05),
    ),
}


def optimizer(name: str, **more: float) -> OptimizerSettings:
    kind = name.split()[0].rstrip(",")
    return OptimizerSettings(
        kind="sgd", learning_rate=RATE, schedule=ScheduleSettings(kind=kind, **DECAYS[name][0] | more)
    )


@pytest.mark.parametrize("name", DECAYS)
def test_every_decay_is_that_of_keras(name: str):
    ours = [learning_rate(optimizer(name), step) for step in STEPS]
    np.testing.assert_allclose(ours, [float(DECAYS[name][1](step)) for step in STEPS], rtol=1e-5)
    assert len(set(ours)) > 2


def test_the_warm_up_is_that_of_keras():
    theirs = of_keras.CosineDecay(0.02, decay_steps=200, alpha=0.05, warmup_target=RATE, warmup_steps=100)
    ours = optimizer("cosine", warmup_steps=100, warmup_start=0.02)
    np.testing.assert_allclose(
        [learning_rate(ours, step) for step in STEPS], [float(theirs(step)) for step in STEPS], rtol=1e-5
    )


@pytest.mark.parametrize("name", DECAYS)
def test_after_any_warm_up_the_decay_begins_at_its_step_0(name: str):
    cold, warm = optimizer(name), optimizer(name, warmup_steps=10)
    assert [learning_rate(warm, step) for step in (0, 5)] == pytest.approx([0.0, RATE / 2])
    assert [learning_rate(warm, step + 10) for step in STEPS] == [learning_rate(cold, step) for step in STEPS]


def test_without_a_schedule_the_rate_stays():
    assert {learning_rate(OptimizerSettings(learning_rate=0.3), step) for step in STEPS} == {np.float32(0.3)}


@pytest.mark.parametrize("kind", ["ftrl", "group_ftrl"])
def test_ftrl_refuses_a_schedule_for_its_weights_would_shrink_with_the_rate(kind: str):
    settings = OptimizerSettings(kind=kind, schedule=ScheduleSettings(kind="cosine"))
    with pytest.raises(ValueError, match=f"kind {kind} takes no schedule"):
        EmbeddingTable(TableSettings(dim=1, optimizer=settings), 1)
    with pytest.raises(ValueError, match=f"kind {kind} takes no schedule"):
        DenseTensors(settings)


def test_a_table_learns_with_the_rate_of_the_step_it_is_told():
    settings = optimizer("polynomial, in a line")
    table, ids = EmbeddingTable(TableSettings(dim=1, optimizer=settings), 1), np.array([1])
    for step in STEPS:
        before = table.lookup(ids)
        table.apply_gradients(ids, np.ones((1, 1), np.float32), step=step)
        assert before - table.lookup(ids) == pytest.approx(learning_rate(settings, step), abs=1e-6)
