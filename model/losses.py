"""The loss: binary cross entropy per label, where the label is known, corrected for sampled negatives."""

import tensorflow as tf


def log_losses(
    logits: tf.Tensor, labels: tf.Tensor, masks: tf.Tensor, sampling_rates: tf.Tensor
) -> tf.Tensor:
    """The loss of each example, summed over its labels: `float32[n]`.

    `logits`, `labels`, `masks` `float32[n, labels]`; `sampling_rates` `float32[n]`. Keeping a share r of the
    negatives multiplies the odds of a positive by 1 / r, so the logit that fits the sampled stream is
    logit - log r. Without the correction served probabilities would be too high by just that.
    """
    seen = logits - tf.math.log(sampling_rates)[:, tf.newaxis]
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=seen)
    return tf.reduce_sum(masks * losses, axis=1)
