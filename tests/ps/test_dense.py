import numpy as np
import pytest

from ps.dense import DenseTensors
from ps.settings import OptimizerSettings

OPTIMIZERS = [
    OptimizerSettings(kind="sgd", learning_rate=0.1),
    OptimizerSettings(kind="sgd", learning_rate=0.1, l2=0.01),
    OptimizerSettings(kind="adagrad", learning_rate=0.1, initial_accumulator=0.2),
    OptimizerSettings(kind="adam", learning_rate=0.01),
    OptimizerSettings(kind="adam", learning_rate=0.01, beta_1=0.5, beta_2=0.9, l2=0.1),
]


def keras_formula(o: OptimizerSettings, w: float, gradients: list[float]) -> float:
    """One weight, in float64, as Keras documents its optimizers."""
    m = v = 0.0
    accumulator = o.initial_accumulator
    for t, gradient in enumerate(gradients, 1):
        g = gradient + 2 * o.l2 * w
        if o.kind == "sgd":
            w -= o.learning_rate * g
        elif o.kind == "adagrad":
            accumulator += g * g
            w -= o.learning_rate * g / (accumulator + o.epsilon) ** 0.5
        else:
            m += (g - m) * (1 - o.beta_1)
            v += (g * g - v) * (1 - o.beta_2)
            rate = o.learning_rate * (1 - o.beta_2**t) ** 0.5 / (1 - o.beta_1**t)
            w -= rate * m / (v**0.5 + o.epsilon)
    return w


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}, l2 {o.l2}")
def test_steps_follow_the_formula_of_keras(optimizer):
    rng = np.random.default_rng(3)
    initial, gradients = rng.normal(size=(2, 3)), rng.normal(size=(50, 2, 3))
    dense = DenseTensors(optimizer)
    dense.initialize({"w": initial.astype(np.float32)})
    for gradient in gradients:
        dense.apply_gradients({"w": gradient.astype(np.float32)})
    expected = [
        [keras_formula(optimizer, initial[i, j], gradients[:, i, j].tolist()) for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(dense.values["w"], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}, l2 {o.l2}")
def test_a_scalar_tensor_learns_and_stays_a_scalar(optimizer):
    dense = DenseTensors(optimizer)
    dense.initialize({"bias": np.array(1, np.float32)})
    for _ in range(2):
        dense.apply_gradients({"bias": np.array(0.5, np.float32)})
    assert dense.values["bias"].shape == ()
    assert dense.values["bias"] < 1
    assert all(isinstance(part, np.ndarray) for part in dense.state()["bias"].values())


def test_the_first_to_initialize_wins_and_new_names_may_come_later():
    dense = DenseTensors(OptimizerSettings(kind="adam"))
    assert dense.initialize({"a": np.ones(2, np.float32)})
    assert not dense.initialize({"a": np.zeros(2, np.float32)})
    assert dense.initialize({"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)})
    assert dense.values["a"].tolist() == [1, 1]
    assert dense.values["b"].tolist() == [0]


def test_a_known_name_with_another_shape_is_refused_and_nothing_is_taken():
    dense = DenseTensors(OptimizerSettings())
    dense.initialize({"a": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match=r"'a' has shape \[2\], not \[3\]"):
        dense.initialize({"b": np.ones(1, np.float32), "a": np.ones(3, np.float32)})
    assert list(dense.values) == ["a"]


def test_an_initial_value_must_be_finite():
    with pytest.raises(ValueError, match="'a': an initial value is NaN"):
        DenseTensors(OptimizerSettings()).initialize({"a": np.array([1, np.inf], np.float32)})


def test_gradients_must_fit_the_tensors():
    dense = DenseTensors(OptimizerSettings())
    dense.initialize({"a": np.ones((2, 3), np.float32)})
    with pytest.raises(ValueError, match=r"'a' has shape \[2, 3\], not \[3, 2\]"):
        dense.check_gradients({"a": np.ones((3, 2), np.float32)})
    with pytest.raises(ValueError, match="'b' is unknown: initialize_dense comes first"):
        dense.check_gradients({"b": np.ones(1, np.float32)})


def test_values_that_were_given_out_never_change():
    dense = DenseTensors(OptimizerSettings(kind="sgd", learning_rate=1))
    dense.initialize({"a": np.ones(2, np.float32)})
    before = dense.values["a"]
    dense.apply_gradients({"a": np.ones(2, np.float32)})
    assert before.tolist() == [1, 1]
    assert dense.values["a"].tolist() == [0, 0]


def test_state_of_another_optimizer_is_not_restored():
    adam, adagrad = DenseTensors(OptimizerSettings(kind="adam")), DenseTensors(OptimizerSettings())
    adam.initialize({"a": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="'a': its state is not that of adagrad"):
        adagrad.restore(adam.values, adam.state())
