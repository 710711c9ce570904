"""Optimizers, penalties and initializers are those of Keras; where it has none, their formula."""

import hashlib
from collections.abc import Callable
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from ps.reference import ReferenceTable
from ps.settings import InitializerSettings, OptimizerKind, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

DIM, STEPS, ROWS, RATE = 19, 100, 5, 0.03
IDS = np.arange(ROWS)
KERAS = {
    "sgd": ({"kind": "sgd"}, keras.optimizers.SGD, {}),
    "momentum": ({"kind": "momentum", "momentum": 0.8}, keras.optimizers.SGD, {"momentum": 0.8}),
    "nesterov": (
        {"kind": "momentum", "momentum": 0.8, "nesterov": True},
        keras.optimizers.SGD,
        {"momentum": 0.8, "nesterov": True},
    ),
    "adagrad": (
        {"kind": "adagrad", "initial_accumulator": 0.2},
        keras.optimizers.Adagrad,
        {"initial_accumulator_value": 0.2},
    ),
    "adam": (
        {"kind": "adam", "beta_1": 0.8, "beta_2": 0.99},
        keras.optimizers.Adam,
        {"beta_1": 0.8, "beta_2": 0.99},
    ),
    "adamw": ({"kind": "adamw", "weight_decay": 0.3}, keras.optimizers.AdamW, {"weight_decay": 0.3}),
    "rmsprop": ({"kind": "rmsprop", "rho": 0.8}, keras.optimizers.RMSprop, {"rho": 0.8}),
    "adadelta": (
        {"kind": "adadelta", "rho": 0.9, "learning_rate": 3.0},
        keras.optimizers.Adadelta,
        {"rho": 0.9, "learning_rate": 3.0},
    ),
    "ftrl": (
        {"kind": "ftrl", "initial_accumulator": 0.2, "beta": 0.1, "l2_shrinkage": 0.01},
        keras.optimizers.Ftrl,
        {"initial_accumulator_value": 0.2, "beta": 0.1, "l2_shrinkage_regularization_strength": 0.01},
    ),
    "ftrl of another power": (
        {"kind": "ftrl", "learning_rate_power": -0.7, "l1": 0.5, "l2": 0.2},
        keras.optimizers.Ftrl,
        {
            "learning_rate_power": -0.7,
            "l1_regularization_strength": 0.5,
            "l2_regularization_strength": 0.2,
            "initial_accumulator_value": 0.1,
        },
    ),
}
"""Our settings, the class of Keras, its settings."""
KINDS = get_args(OptimizerKind)
INITIALIZERS = ("zeros", "constant", "uniform", "normal", "truncated_normal")


def make(optimizer: dict[str, Any], initializer: str = "normal", **options: Any) -> EmbeddingTable:
    settings = TableSettings(
        dim=DIM,
        initializer=InitializerSettings(kind=initializer, scale=0.3),
        optimizer=OptimizerSettings(**{"learning_rate": RATE} | optimizer),
    )
    return EmbeddingTable(settings, 1, **options)


def gradients(rows: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(STEPS, rows, DIM)).astype(np.float32)


def learn(tables: list[EmbeddingTable], grads: np.ndarray) -> np.ndarray:
    """The rows of all `tables`, one after the other, after a step with each of `grads`."""
    for step, gradient in enumerate(grads):
        for i, table in enumerate(tables):
            table.apply_gradients(IDS, gradient[i * ROWS : (i + 1) * ROWS], step=step)
    return np.concatenate([table.lookup(IDS) for table in tables])


def learn_in_keras(
    optimizer: keras.optimizers.Optimizer,
    initial: np.ndarray,
    grads: np.ndarray,
    regularizer: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> np.ndarray:
    variable = keras.Variable(initial)
    optimizer.build([variable])

    @tf.function
    def step(gradient: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(variable.value * gradient)
            loss += regularizer(variable.value) if regularizer else 0.0
        optimizer.apply([tape.gradient(loss, variable.value)], [variable])

    for gradient in grads:
        step(tf.constant(gradient))
    return variable.numpy()


@pytest.mark.parametrize("case", KERAS)
def test_a_hundred_steps_are_those_of_keras_with_every_initializer(case: str):
    ours, of_keras, options = KERAS[case]
    tables = [make(ours, initializer) for initializer in INITIALIZERS]
    initial = np.concatenate([table.lookup(IDS) for table in tables])
    grads = gradients(len(initial))
    theirs = learn_in_keras(of_keras(**{"learning_rate": RATE} | options), initial, grads)
    np.testing.assert_allclose(learn(tables, grads), theirs, atol=1e-5)
    assert np.abs(theirs - initial).max() > 0.01


@pytest.mark.parametrize("case", [case for case in KERAS if not case.startswith("ftrl")])
def test_penalties_are_the_regularizers_of_keras(case: str):
    ours, of_keras, options = KERAS[case]
    tables = [make(ours | penalty) for penalty in ({"l1": 0.02}, {"l2": 0.03}, {"l1": 0.02, "l2": 0.03})]
    initial = np.concatenate([table.lookup(IDS) for table in tables])
    penalties = keras.regularizers.L1(0.02), keras.regularizers.L2(0.03), keras.regularizers.L1L2(0.02, 0.03)

    def penalise(w: tf.Tensor) -> tf.Tensor:
        return sum(penalty(w[i * ROWS : (i + 1) * ROWS]) for i, penalty in enumerate(penalties))

    grads = gradients(len(initial))
    theirs = learn_in_keras(of_keras(**{"learning_rate": RATE} | options), initial, grads, penalise)
    np.testing.assert_allclose(learn(tables, grads), theirs, atol=1e-5)
    unpenalised = learn([make(ours) for _ in tables], grads)
    assert np.abs(unpenalised - theirs).max() > 1e-3


@pytest.mark.parametrize("clip", [{"clipvalue": 0.5}, {"clipnorm": 2.0}])
@pytest.mark.parametrize("case", ["adagrad", "momentum", "ftrl"])
def test_clipping_is_that_of_keras_a_row_being_a_variable(case: str, clip: dict[str, float]):
    ours, of_keras, options = KERAS[case]
    l2 = {} if case == "ftrl" else {"l2": 0.03}
    table, grads = make(ours | clip | l2), gradients(ROWS)
    grads[:, :, 0] *= 3
    regularizer = keras.regularizers.L2(0.03) if l2 else None
    rows = [
        learn_in_keras(of_keras(**{"learning_rate": RATE} | options | clip), row, grads[:, i], regularizer)
        for i, row in enumerate(table.lookup(IDS[:2]))
    ]
    np.testing.assert_allclose(learn([table], grads)[:2], rows, atol=1e-5)


def test_the_gradients_of_a_repeated_id_are_summed_before_they_are_clipped():
    once, twice = make({"kind": "sgd", "clipnorm": 2.0}), make({"kind": "sgd", "clipnorm": 2.0})
    half = np.full((1, DIM), 0.4, np.float32)
    once.apply_gradients(IDS[:1], half * 2)
    twice.apply_gradients(IDS[[0, 0]], np.repeat(half, 2, axis=0))
    change = make({"kind": "sgd"}).lookup(IDS[:1]) - once.lookup(IDS[:1])
    assert np.array_equal(once.lookup(IDS[:1]), twice.lookup(IDS[:1]))
    assert np.linalg.norm(change) == pytest.approx(RATE * 2.0, rel=1e-4)


def test_rowwise_adagrad_is_its_formula_with_one_accumulator_a_row():
    table, grads = make({"kind": "rowwise_adagrad", "initial_accumulator": 0.2}), gradients(ROWS)
    assert table.row_floats == DIM + 1
    w, accumulator = table.lookup(IDS).astype(np.float64), np.full((ROWS, 1), 0.2)
    for g in grads.astype(np.float64):
        accumulator += (g**2).mean(axis=1, keepdims=True)
        w -= RATE * g / np.sqrt(accumulator + 1e-7)
    np.testing.assert_allclose(learn([table], grads), w, atol=1e-5)
    np.testing.assert_allclose(sorted(table.items()[1][:, DIM]), sorted(accumulator[:, 0]), rtol=1e-5)


@pytest.mark.parametrize("power", [-0.5, -0.8])
def test_group_ftrl_is_its_formula_and_makes_whole_rows_zero(power: float):
    optimizer = {"kind": "group_ftrl", "learning_rate_power": power, "beta": 0.1, "l1": 0.3, "l2": 0.2}
    table, grads = make(optimizer | {"l21": 8.0, "initial_accumulator": 0.2}), gradients(ROWS)
    w, n, z = table.lookup(IDS).astype(np.float64), np.full((ROWS, DIM), 0.2), np.zeros((ROWS, DIM))
    zeros = 0
    for step, g in enumerate(grads.astype(np.float64)):
        z += g - ((n + g**2) ** -power - n**-power) / RATE * w
        n += g**2
        beyond = np.clip(z, -0.3, 0.3) - z
        norm = np.linalg.norm(beyond, axis=1, keepdims=True)
        share = np.maximum(1 - 8.0 * np.sqrt(DIM) / norm, 0)
        w = share * beyond / (n**-power / RATE + 2 * (0.2 + 0.1 / (2 * RATE)))
        zeros += int((share == 0).sum())
        table.apply_gradients(IDS, grads[step])
        np.testing.assert_allclose(table.lookup(IDS), w, atol=1e-5)
        assert ((table.lookup(IDS) == 0).all(axis=1) == (share[:, 0] == 0)).all()
    assert 0 < zeros < ROWS * STEPS


def test_group_ftrl_without_its_lasso_is_ftrl():
    grads = gradients(ROWS)
    constants = {"l1": 0.3, "l2": 0.1, "beta": 0.2}
    rows = [learn([make(constants | {"kind": kind})], grads) for kind in ("ftrl", "group_ftrl")]
    np.testing.assert_allclose(*rows, atol=1e-6)


def test_ftrl_leaves_a_weight_that_has_seen_nothing_at_zero_where_keras_divides_by_zero():
    table = make({"kind": "ftrl", "initial_accumulator": 0.0})
    table.apply_gradients(IDS, np.zeros((ROWS, DIM), np.float32))
    assert (table.lookup(IDS) == 0).all()


EVERYTHING = {"l1": 0.01, "l2": 0.02, "clipvalue": 1.5, "clipnorm": 3.0, "l2_shrinkage": 0.01, "l21": 0.1}
DIMS = (1, 7, 8, 16, 19, 64)


@pytest.mark.parametrize(
    "more", [{}, EVERYTHING, {"nesterov": True}], ids=["plain", "everything", "nesterov"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_vector_and_portable_code_and_the_reference_give_the_same_bits(kind: str, more: dict[str, Any]):
    for dim in DIMS:
        settings = TableSettings(dim=dim, optimizer=OptimizerSettings(kind=kind, **more))
        tables = [EmbeddingTable(settings, 1), EmbeddingTable(settings, 1, portable=True)]
        tables.append(ReferenceTable(settings, 1))
        rng = np.random.default_rng(dim)
        for _ in range(6):
            grads = rng.normal(size=(ROWS, dim)).astype(np.float32) * 3
            for table in tables:
                table.apply_gradients(IDS, grads)
        rows = [table.items()[1][np.argsort(table.items()[0])].view(np.uint32) for table in tables]
        assert np.array_equal(rows[0], rows[1])
        assert np.array_equal(rows[0], rows[2])


def test_ftrl_of_any_power_gives_the_same_bits_portably_and_the_reference_up_to_the_last():
    optimizer = OptimizerSettings(kind="group_ftrl", learning_rate_power=-0.7, l1=0.1, l21=0.1)
    settings = TableSettings(dim=DIM, optimizer=optimizer)
    tables = [
        EmbeddingTable(settings, 1),
        EmbeddingTable(settings, 1, portable=True),
        ReferenceTable(settings, 1),
    ]
    rows = [learn([table], gradients(ROWS)) for table in tables]
    assert np.array_equal(rows[0], rows[1])
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_is_lazy_a_row_counts_its_own_steps(kind: str):
    late, early = make({"kind": kind}), make({"kind": kind})
    grads = gradients(1)
    for step in range(50):
        late.apply_gradients(IDS[:1], grads[step], step=step)
    late.apply_gradients(IDS[1:2], grads[0], step=50)
    early.apply_gradients(IDS[1:2], grads[0], step=0)
    assert np.array_equal(late.lookup(IDS[1:2]), early.lookup(IDS[1:2]))


def test_adam_counts_far_and_stays_exact():
    table, reference = (
        make({"kind": "adam"}),
        ReferenceTable(
            TableSettings(
                dim=DIM,
                initializer=InitializerSettings(kind="normal", scale=0.3),
                optimizer=OptimizerSettings(kind="adam", learning_rate=RATE),
            ),
            1,
        ),
    )
    for steps in (0.0, 4095.0, 4096.0, 1e6, 2.0**24, -7.0, 3e38):
        row = np.ones((1, table.row_floats), np.float32)
        row[0, -1] = steps
        for each in (table, reference):
            each.assign(IDS[:1], row)
            each.apply_gradients(IDS[:1], np.full((1, DIM), 0.5, np.float32))
        assert np.array_equal(table.items()[1], reference.items()[1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("adamw", "ftrl", "group_ftrl")])
def test_a_zero_gradient_changes_no_embedding_without_penalties(kind: str):
    table = make({"kind": kind})
    before = table.lookup(IDS)
    table.apply_gradients(IDS, np.zeros((ROWS, DIM), np.float32))
    assert np.array_equal(table.lookup(IDS), before)


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_initial_values_have_the_distribution_of_keras(kind: str):
    scale = 0.3
    theirs = {
        "uniform": keras.initializers.RandomUniform(-scale, scale, seed=1),
        "normal": keras.initializers.RandomNormal(0.0, scale, seed=1),
        "truncated_normal": keras.initializers.TruncatedNormal(0.0, scale, seed=1),
    }[kind]
    ours = np.sort(make({}, kind).lookup(np.arange(20_000)).ravel())
    expected = np.sort(np.asarray(theirs((20_000, DIM))).ravel())
    # Kolmogorov-Smirnov: this much apart by chance once in 10^5.
    places = np.searchsorted(expected, ours) / len(expected)
    assert np.abs(places - np.arange(len(ours)) / len(ours)).max() < 2.47 * (2 / len(ours)) ** 0.5
    assert np.abs(ours).max() == pytest.approx(np.abs(expected).max(), rel=0.1)


GOLDEN = {
    "sgd": "5ca3af209254f823",
    "momentum": "b9a9fde88ea3ea86",
    "adagrad": "9c98ca6608af8a6c",
    "rowwise_adagrad": "1e8fb90bd14c08d4",
    "adam": "51ddfa4e0dd23fe1",
    "adamw": "aa7bd286199e5e97",
    "rmsprop": "4587f530e45c5c25",
    "adadelta": "500406b4c99e9de4",
    "ftrl": "d3276e83c41a9040",
    "group_ftrl": "287cb43a93113b54",
}


def test_rows_that_have_learnt_stay_put_on_every_machine():
    digests = {}
    for kind in KINDS:
        power = -0.7 if kind == "group_ftrl" else -0.5
        optimizer = {"learning_rate_power": power, "l2": 0.01, "l21": 0.05, "clipnorm": 2.0}
        table = make({"kind": kind} | optimizer, portable=True)
        for step in range(20):
            grads = (np.arange(ROWS * DIM) * 37 % 101 - 50 + step).astype(np.float32) / np.float32(64)
            table.apply_gradients(IDS, grads.reshape(ROWS, DIM))
        ids, rows, _, _ = table.items()
        digests[kind] = hashlib.blake2b(rows[np.argsort(ids)].tobytes(), digest_size=8).hexdigest()
    assert digests == GOLDEN
