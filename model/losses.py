"""The loss: how an example is to be read (docs/labels.md).

Where the mask of a label is 1, a `binary` one teaches by its cross entropy, corrected for sampled negatives;
a `number` by its squared error, for its mean is what is to be predicted. A correction takes back what an
earlier example taught: L(label) - L(was).
"""

from typing import NamedTuple

import tensorflow as tf


class Targets(NamedTuple):
    """What n examples say: `float32[n, labels]`, as in `model.parse.Examples`; `sampling_rates` `[n]`."""

    labels: tf.Tensor
    masks: tf.Tensor
    was: tf.Tensor
    otherwise: tf.Tensor
    sampling_rates: tf.Tensor


def losses(outputs: tf.Tensor, targets: Targets, is_number: tf.Tensor) -> tf.Tensor:
    """The loss of each example, summed over its labels: `float32[n]`.

    `outputs` `float32[n, labels]`: logits, or numbers where `is_number`, `bool[labels]`.

    Keeping a share r of the negatives multiplies the odds of a positive by 1 / r, so the logit that fits the
    sampled stream is logit - log r. Without the correction served probabilities would be too high by just
    that. Numbers have no odds: one that was kept with probability r weighs 1 / r. An action is never
    sampled, so what takes back one of these teaches with weight 1 and takes back with 1 / r.
    """
    rates = targets.sampling_rates[:, tf.newaxis]
    outputs = tf.where(is_number, outputs, outputs - tf.math.log(rates))
    kept = tf.where(is_number, 1 / rates, tf.ones_like(rates))
    weights = tf.where(targets.otherwise > 0, kept, tf.ones_like(kept))
    takes_back = ~tf.math.is_nan(targets.was)
    was = tf.where(takes_back, targets.was, tf.zeros_like(targets.was))
    taught = weights * _losses(outputs, targets.labels, is_number)
    taken = tf.where(takes_back, kept, tf.zeros_like(kept)) * _losses(outputs, was, is_number)
    return tf.reduce_sum(targets.masks * (taught - taken), axis=1)


def _losses(outputs: tf.Tensor, labels: tf.Tensor, is_number: tf.Tensor) -> tf.Tensor:
    """Of every output, `float32[n, labels]`; halved, a squared error pulls as cross entropy does."""
    entropies = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=outputs)
    return tf.where(is_number, tf.square(outputs - labels) / 2, entropies)


def predictions(outputs: tf.Tensor, is_number: tf.Tensor) -> tf.Tensor:
    """Probabilities, or numbers where `is_number`, for unsampled traffic: the shape of `outputs`."""
    return tf.where(is_number, outputs, tf.sigmoid(outputs))
