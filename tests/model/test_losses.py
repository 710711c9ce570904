import numpy as np
import pytest
import tensorflow as tf

from model.losses import log_losses


def losses(logits, labels, masks, rates):
    arrays = [tf.constant(each, tf.float32) for each in (logits, labels, masks, rates)]
    return log_losses(*arrays).numpy()


def test_the_loss_is_cross_entropy_over_all_labels():
    found = losses([[0.5, -1.0]], [[1, 0]], [[1, 1]], [1])
    assert found == pytest.approx([np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0))])


def test_labels_that_are_still_open_teach_nothing():
    assert losses([[5.0, 5.0]], [[0, 0]], [[0, 0]], [1]).tolist() == [0]


def test_the_best_logit_of_a_sampled_stream_is_that_of_the_whole_one():
    """10 % positives; of the negatives a quarter is kept: the loss is least at the true 10 %."""
    labels = np.array([[1.0]] * 100 + [[0.0]] * 225)
    candidates = np.log(np.linspace(0.01, 0.5, 50) / (1 - np.linspace(0.01, 0.5, 50)))
    totals = [
        losses(np.full((325, 1), z), labels, np.ones((325, 1)), np.full(325, 0.25)).sum() for z in candidates
    ]
    assert 1 / (1 + np.exp(-candidates[np.argmin(totals)])) == pytest.approx(0.1)
