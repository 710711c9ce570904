"""How good scores were: exact AUC, log loss and calibration over the examples of a run.

A negative that was kept with probability r stands for 1/r negatives, so every sum weighs it by 1/r.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss."""


@dataclass(frozen=True)
class Quality:
    """What one column of scores was worth; None where it can't be said."""

    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None
    """Predicted over actual positives: 1 is right, more is too sure."""


def weights_of(labels: Floats, sampling_rates: Floats) -> Floats:
    """The number of impressions that each example stands for: float64[n]."""
    return np.where(labels > 0.5, 1.0, 1.0 / sampling_rates)


def auc(labels: Floats, scores: Floats, weights: Floats) -> float | None:
    """The probability that a positive scores above a negative, ties counting half; exact, weighted.

    All float64[n]; None without a positive or without a negative.
    """
    levels, level = np.unique(scores, return_inverse=True)
    positive = np.bincount(level, weights * (labels > 0.5), len(levels))
    negative = np.bincount(level, weights * (labels <= 0.5), len(levels))
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)


def measure(labels: Floats, scores: Floats, sampling_rates: Floats) -> Quality:
    """The quality of `scores` (float64[n], probabilities; NaN where there is none) on these examples."""
    there = ~np.isnan(scores)
    labels, scores, weights = labels[there], scores[there], weights_of(labels, sampling_rates)[there]
    if not len(labels):
        return Quality(0, None, None, None)
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    losses = -np.where(labels > 0.5, np.log(clipped), np.log1p(-clipped))
    positives = (weights * labels).sum()
    calibration = float((weights * scores).sum() / positives) if positives else None
    return Quality(
        len(labels),
        auc(labels, scores, weights),
        float((weights * losses).sum() / weights.sum()),
        calibration,
    )
