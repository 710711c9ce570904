"""Optimizers are the formulas of Keras."""

from collections.abc import Callable

import numpy as np
import pytest

from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

DIM, STEPS = 19, 100
Step = Callable[[np.ndarray, np.ndarray, dict, int], np.ndarray]


def sgd(w: np.ndarray, g: np.ndarray, state: dict, t: int) -> np.ndarray:
    return w - 0.03 * g


def adagrad(w: np.ndarray, g: np.ndarray, state: dict, t: int) -> np.ndarray:
    state["sum"] = state.get("sum", 0.2) + g**2
    return w - 0.03 * g / np.sqrt(state["sum"] + 1e-7)


def adam(w: np.ndarray, g: np.ndarray, state: dict, t: int) -> np.ndarray:
    state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
    state["v"] = 0.99 * state.get("v", 0) + 0.01 * g**2
    rate = 0.03 * np.sqrt(1 - 0.99**t) / (1 - 0.8**t)
    return w - rate * state["m"] / (np.sqrt(state["v"]) + 1e-7)


def make(kind: str, l2: float = 0.0, portable: bool = False) -> EmbeddingTable:
    optimizer = OptimizerSettings(
        kind=kind, learning_rate=0.03, initial_accumulator=0.2, beta_1=0.8, beta_2=0.99, epsilon=1e-7, l2=l2
    )
    initializer = InitializerSettings(kind="normal", scale=0.3)
    settings = TableSettings(dim=DIM, initializer=initializer, optimizer=optimizer)
    return EmbeddingTable(settings, 1, portable=portable)


def gradients(n: int) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(STEPS, n, DIM)).astype(np.float32)


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("step", [sgd, adagrad, adam])
def test_a_hundred_steps_are_those_of_keras(step: Step, l2: float):
    table, ids, state = make(step.__name__, l2), np.arange(50), {}
    expected = table.lookup(ids).astype(np.float64)
    for t, g in enumerate(gradients(50), start=1):
        table.apply_gradients(ids, g)
        expected = step(expected, g + 2 * l2 * expected, state, t)
    np.testing.assert_allclose(table.lookup(ids), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "adam"])
def test_the_portable_code_gives_the_same_bits(kind: str):
    fast, portable, ids = make(kind, 0.01), make(kind, 0.01, portable=True), np.arange(50)
    for g in gradients(50):
        fast.apply_gradients(ids, g)
        portable.apply_gradients(ids, g)
    ours, theirs = fast.items(), portable.items()
    assert np.array_equal(ours[1][np.argsort(ours[0])], theirs[1][np.argsort(theirs[0])])


def test_adam_is_lazy_a_row_counts_its_own_steps():
    table, ids, state = make("adam"), np.array([1, 2]), {}
    for g in gradients(1)[:50]:
        table.apply_gradients(ids[:1], g)
    late = table.lookup(ids)[1].astype(np.float64)
    g = gradients(1)[0]
    table.apply_gradients(ids[1:], g)
    np.testing.assert_allclose(table.lookup(ids)[1], adam(late, g[0], state, 1), atol=1e-6)


def test_a_zero_gradient_changes_no_embedding_without_l2():
    for kind in ("sgd", "adagrad", "adam"):
        table, ids = make(kind), np.arange(10)
        before = table.lookup(ids)
        table.apply_gradients(ids, np.zeros((10, DIM), np.float32))
        assert np.array_equal(table.lookup(ids), before)
