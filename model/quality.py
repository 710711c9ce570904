"""How good scores were: exact AUC, log loss and calibration.

A negative that was kept with probability r stands for 1 / r negatives, so every sum weighs it by 1 / r.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CLIP: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss."""


class Quality(NamedTuple):
    """What scores were worth; None where it can't be said."""

    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None
    """Predicted over actual positives: 1 is right, more is too sure."""


def measure(labels: Floats, scores: Floats, sampling_rates: Floats) -> Quality:
    """The quality of `scores` (probabilities; NaN where there is none) on examples, `float64[n]` each."""
    there = ~np.isnan(scores)
    labels, scores, rates = labels[there], scores[there], sampling_rates[there]
    if not len(labels):
        return Quality(0, None, None, None)
    weights = np.where(labels > 0.5, 1.0, 1.0 / rates)
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    losses = -np.where(labels > 0.5, np.log(clipped), np.log1p(-clipped))
    log_loss = float((weights * losses).sum() / weights.sum())
    positives = (weights * labels).sum()
    calibration = float((weights * scores).sum() / positives) if positives else None
    return Quality(len(labels), auc(labels, scores, weights), log_loss, calibration)


def auc(labels: Floats, scores: Floats, weights: Floats) -> float | None:
    """The probability that a positive scores above a negative, ties counting half; exact, weighted.

    All `float64[n]`; None without a positive or without a negative.
    """
    levels, level = np.unique(scores, return_inverse=True)
    positive = np.bincount(level, weights * (labels > 0.5), len(levels))
    negative = np.bincount(level, weights * (labels <= 0.5), len(levels))
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)
