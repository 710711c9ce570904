"""How good scores were: exact AUC, log loss, RMSE and calibration.

A value that a window's end made and that was kept with probability r stands for 1 / r items, so every sum
weighs it by 1 / r. A correction takes such a value back: its score counts with the new value, and with the
old one and a weight of -1 / r. So an item counts once, whatever was said of it, and sums are those of
unsampled traffic, on average.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.schema import LabelKind

Floats = npt.NDArray[np.float64]
Numbers = Floats | npt.NDArray[np.float32]

_CLIP: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss."""


class Sightings(NamedTuple):
    """What came of scores, and how much each counts: `float64[n]` each; weights below 0 take back."""

    labels: Floats
    scores: Floats
    weights: Floats


class Quality(NamedTuple):
    """What scores of a label were worth; None where it can't be said, or is not said of its kind."""

    examples: int
    auc: float | None = None
    log_loss: float | None = None
    rmse: float | None = None
    """Of a label of kind `number`, in place of the two before."""
    calibration: float | None = None
    """Predicted over actual, of positives or of the sum of a number: 1 is right, more is too much."""


def sightings(
    labels: Numbers,
    scores: Numbers,
    otherwise: npt.NDArray[Any],
    was: Numbers,
    sampling_rates: Numbers,
) -> tuple[Sightings, npt.NDArray[np.int64]]:
    """Of n examples that teach the label, and which of them each is of, int64.

    `otherwise` and `was` as `model.parse.Examples` has them, [n] each.
    """
    rates = sampling_rates.astype(np.float64)
    weights = np.where(otherwise > 0, 1 / rates, 1.0)
    again = np.flatnonzero(~np.isnan(was))
    rows = np.concatenate([np.arange(len(labels)), again])
    seen_labels = np.concatenate([labels, was[again]]).astype(np.float64)
    seen_weights = np.concatenate([weights, -1 / rates[again]])
    return Sightings(seen_labels, scores[rows].astype(np.float64), seen_weights), rows


def measure(seen: Sightings, kind: LabelKind = "binary") -> Quality:
    """The quality of scores, probabilities or numbers; NaN where there is none."""
    there = ~np.isnan(seen.scores)
    seen = Sightings(*(column[there] for column in seen))
    # What takes back ends what an earlier example has begun.
    examples = int(np.sign(seen.weights).sum())
    if not seen.weights.sum() > 0:
        return Quality(max(0, examples))
    predicted, actual = (float((seen.weights * values).sum()) for values in (seen.scores, seen.labels))
    calibration = predicted / actual if actual else None
    if kind == "number":
        return Quality(examples, rmse=_rmse(seen), calibration=calibration)
    return Quality(examples, auc(*seen), _log_loss(seen), calibration=calibration)


def auc(labels: Floats, scores: Floats, weights: Floats) -> float | None:
    """The probability that a positive scores above a negative, ties counting half; exact, weighted.

    All `float64[n]`; None without a positive or without a negative.
    """
    levels, level = np.unique(scores, return_inverse=True)
    positive = np.bincount(level, weights * (labels > 0.5), len(levels))
    negative = np.bincount(level, weights * (labels <= 0.5), len(levels))
    if not (positive.sum() > 0 and negative.sum() > 0):
        return None
    below = np.cumsum(negative) - negative
    area = float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))
    # What is taken back may have been scored elsewhere: then few sightings can lie beyond.
    return min(max(area, 0.0), 1.0)


def _log_loss(seen: Sightings) -> float:
    clipped = np.clip(seen.scores, _CLIP, 1 - _CLIP)
    losses = -np.where(seen.labels > 0.5, np.log(clipped), np.log1p(-clipped))
    return float((seen.weights * losses).sum() / seen.weights.sum())


def _rmse(seen: Sightings) -> float:
    squares = (seen.scores - seen.labels) ** 2
    return float(np.sqrt(max(0.0, (seen.weights * squares).sum() / seen.weights.sum())))
