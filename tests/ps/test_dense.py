import numpy as np
import pytest

from ps.dense import DenseTensors
from ps.settings import OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

ONE = np.array([1])

OPTIMIZERS = [
    OptimizerSettings(kind="sgd", learning_rate=0.1),
    OptimizerSettings(kind="sgd", learning_rate=0.1, l2=0.01),
    OptimizerSettings(kind="momentum", learning_rate=0.1, nesterov=True),
    OptimizerSettings(kind="adagrad", learning_rate=0.1, initial_accumulator=0.2),
    OptimizerSettings(kind="adam", learning_rate=0.01),
    OptimizerSettings(kind="adam", learning_rate=0.01, beta_1=0.5, beta_2=0.9, l2=0.1),
    OptimizerSettings(kind="adamw", learning_rate=0.01, weight_decay=0.3),
    OptimizerSettings(kind="rmsprop", learning_rate=0.01),
    OptimizerSettings(kind="adadelta", learning_rate=1.0),
    OptimizerSettings(kind="ftrl", learning_rate=0.1, l1=0.1, l2=0.1),
    OptimizerSettings(kind="adagrad", clipvalue=0.5, clipnorm=1.0),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}, l2 {o.l2}")
def test_a_tensor_learns_like_a_row_of_a_table(optimizer):
    """Rows learn as in Keras: tests/ps/test_table_optimizers.py."""
    rng = np.random.default_rng(3)
    initial, gradients = (rng.normal(size=size).astype(np.float32) for size in ((2, 3), (50, 2, 3)))
    dense = DenseTensors(optimizer)
    table = EmbeddingTable(TableSettings(dim=6, optimizer=optimizer), 1)
    dense.initialize({"w": initial})
    table.assign(ONE, initial.reshape(1, 6))
    for gradient in gradients:
        dense.apply_gradients({"w": gradient})
        table.apply_gradients(ONE, gradient.reshape(1, 6))
    assert np.array_equal(dense.values["w"].reshape(1, 6), table.lookup(ONE))
    state = np.concatenate([np.ravel(part) for part in dense.state()["w"].values()] or [ONE[:0]])
    assert np.array_equal(state, table.items()[1][0, 6:])


@pytest.mark.parametrize("kind", ["rowwise_adagrad", "group_ftrl"])
def test_optimizers_of_rows_are_refused(kind):
    with pytest.raises(ValueError, match=f"kind {kind} is for the rows of tables"):
        DenseTensors(OptimizerSettings(kind=kind))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}, l2 {o.l2}")
def test_what_is_restored_learns_on_the_same(optimizer):
    first, second = DenseTensors(optimizer), DenseTensors(optimizer)
    tensors = {"w": np.ones((2, 3), np.float32), "b": np.array(2, np.float32)}
    first.initialize(tensors)
    for i in range(3):
        first.apply_gradients({name: tensor * (i + 1) for name, tensor in tensors.items()})
    second.restore(first.values, first.state())
    for dense in (first, second):
        dense.apply_gradients(tensors)
    assert {n: v.tolist() for n, v in first.values.items()} == {
        n: v.tolist() for n, v in second.values.items()
    }


BAD = np.array([np.nan, np.inf, 1], np.float32)


def test_a_tensor_with_a_bad_gradient_is_skipped_and_counted():
    dense = DenseTensors(OptimizerSettings(kind="adam", bad_gradients="skip"))
    dense.initialize({"a": np.ones(3, np.float32), "b": np.ones(1, np.float32)})
    dense.apply_gradients({"a": BAD, "b": np.ones(1, np.float32)})
    assert dense.values["a"].tolist() == [1, 1, 1]
    assert dense.values["b"][0] < 1
    assert dense.state()["a"]["steps"] == 0
    assert (dense.skipped, dense.clipped) == (1, 0)


def test_a_bad_gradient_is_clipped_and_counted():
    optimizer = OptimizerSettings(kind="sgd", learning_rate=1, bad_gradients="clip", clipvalue=2)
    dense = DenseTensors(optimizer)
    dense.initialize({"a": np.ones(3, np.float32)})
    dense.apply_gradients({"a": BAD})
    assert dense.values["a"].tolist() == [1, -1, 0]
    assert (dense.skipped, dense.clipped) == (0, 1)


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
