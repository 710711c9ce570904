import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from model.losses import Targets, losses, predictions

NAN = float("nan")
BINARY, NUMBER = [False], [True]


def targets(labels, *, masks=None, was=None, otherwise=None, rates=None) -> Targets:
    """Of `labels` [n, labels], all masks 1 and nothing taken back, if nothing else is said."""
    shape = np.shape(labels)
    columns = (
        labels,
        np.ones(shape) if masks is None else masks,
        np.full(shape, NAN) if was is None else was,
        np.zeros(shape) if otherwise is None else otherwise,
        np.ones(shape[0]) if rates is None else rates,
    )
    return Targets(*(tf.constant(each, tf.float32) for each in columns))


def pulls(outputs, of: Targets, is_number) -> tuple[np.ndarray, np.ndarray]:
    """The losses and their gradients by output."""
    outputs = tf.constant(outputs, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        found = losses(outputs, of, tf.constant(is_number))
    return found.numpy(), tape.gradient(found, outputs).numpy()


def test_the_loss_is_cross_entropy_over_all_labels():
    found, _ = pulls([[0.5, -1.0]], targets([[1, 0]]), [False, False])
    assert found == pytest.approx([np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0))])


def test_a_number_pulls_by_how_far_off_it_is():
    found, gradients = pulls([[5.0, 0.0]], targets([[2, 1]]), [True, False])
    assert found == pytest.approx([4.5 + np.log(2)])
    assert gradients.tolist() == [[3, -0.5]]


@pytest.mark.parametrize("was", [NAN, 0.0])
def test_labels_that_are_still_open_teach_nothing(was):
    found, gradients = pulls(
        [[5.0, 5.0]],
        targets([[0, 3]], masks=[[0, 0]], was=[[was, was]], otherwise=[[1, 1]], rates=[0.1]),
        [False, True],
    )
    assert found.tolist() == [0]
    assert gradients.tolist() == [[0, 0]]


def test_the_best_logit_of_a_sampled_stream_is_that_of_the_whole_one():
    """10 % positives; of the negatives a quarter is kept: the loss is least at the true 10 %."""
    labels = np.array([[1.0]] * 100 + [[0.0]] * 225)
    stream = targets(labels, otherwise=1 - labels, rates=np.full(325, 0.25))
    candidates = np.log(np.linspace(0.01, 0.5, 50) / (1 - np.linspace(0.01, 0.5, 50)))
    totals = [pulls(np.full((325, 1), z), stream, BINARY)[0].sum() for z in candidates]
    assert 1 / (1 + np.exp(-candidates[np.argmin(totals)])) == pytest.approx(0.1)


def test_the_best_number_of_a_sampled_stream_is_the_mean_of_the_whole_one():
    """100 of 1,000 with 3.0, some of them 0 by an action; of the rest a quarter is kept."""
    labels = np.array([[3.0]] * 90 + [[0.0]] * 10 + [[0.0]] * 225)
    otherwise = np.array([[0.0]] * 100 + [[1.0]] * 225)
    stream = targets(labels, otherwise=otherwise, rates=np.full(325, 0.25))
    _, gradients = pulls(np.full((325, 1), 0.27), stream, NUMBER)
    assert gradients.sum() == pytest.approx(0, abs=1e-3)


@given(
    output=st.floats(-5, 5, width=32),
    value=st.floats(-5, 5, width=32),
    was=st.sampled_from([0.0, -1.5]),
    rate=st.sampled_from([1.0, 0.5, 0.1]),
    is_number=st.booleans(),
)
def test_a_correction_leaves_what_the_action_alone_would_have_taught(output, value, was, rate, is_number):
    value, was = (value, was) if is_number else (1.0, 0.0)
    first = targets([[was]], otherwise=[[1]], rates=[rate])
    correction = targets([[value]], was=[[was]], rates=[rate])
    alone = targets([[value]], rates=[rate])
    taught = [pulls([[output]], each, [is_number]) for each in (first, correction, alone)]
    for before, after, wanted in zip(*taught, strict=True):
        assert before + after == pytest.approx(wanted, abs=1e-4)


def test_predictions_are_probabilities_or_the_numbers_themselves():
    found = predictions(tf.constant([[0.0, -7.5]]), tf.constant([False, True]))
    assert found.numpy().tolist() == [[0.5, -7.5]]
