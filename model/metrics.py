"""Progressive metrics over a window of the newest examples: exact AUC, log loss, calibration, per label.

A negative that was kept with probability r stands for 1 / r negatives, so every sum weighs it by 1 / r.
"""

import threading
from collections import deque
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from model.parse import Examples
from ps.arrays import Float32

Floats = npt.NDArray[np.float64]
_CLIP: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss."""


class Quality(NamedTuple):
    """What scores were worth."""

    auc: float
    log_loss: float
    calibration: float
    """Predicted over actual positives: 1 is right, more is too sure."""


class Window:
    """Scores of the newest examples with what came of them. Written by one thread, read by others."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._chunks: deque[Float32] = deque()
        self._length = 0
        self._lock = threading.Lock()

    def add(self, scores: Float32, labels: Float32, sampling_rates: Float32) -> None:
        """Take `float32[n]` each; only the newest `size` of all are kept, to the chunk."""
        chunk = np.stack([scores, labels, sampling_rates])
        with self._lock:
            self._chunks.append(chunk)
            self._length += chunk.shape[1]
            while self._length - self._chunks[0].shape[1] >= self._size:
                self._length -= self._chunks.popleft().shape[1]

    def quality(self) -> Quality | None:
        """Of what is in the window; None without a positive or without a negative."""
        with self._lock:
            chunks = list(self._chunks)
        if not chunks:
            return None
        scores, labels, rates = np.concatenate(chunks, axis=1)[:, -self._size :].astype(np.float64)
        return quality(scores, labels, rates)


class Progress:
    """Windows for every label and every kind of score: `fresh`, `served`, and the names after `@`."""

    def __init__(self, labels: list[str], size: int) -> None:
        self._labels = labels
        self._size = size
        self.windows: dict[tuple[str, str], Window] = {}
        """By (label, of)."""

    def add(self, examples: Examples, predictions: dict[str, Float32]) -> None:
        """Take a batch with its predictions by label, from before it was learnt."""
        for i, label in enumerate(self._labels):
            known = examples.masks[:, i] > 0
            self._add(label, "fresh", predictions[label], known, i, examples)
        for name, scores in examples.scores.items():
            label, _, of = name.partition("@")
            if label in self._labels:
                i = self._labels.index(label)
                there = (examples.masks[:, i] > 0) & ~np.isnan(scores)
                self._add(label, of or "served", scores, there, i, examples)

    def _add(
        self, label: str, of: str, scores: Float32, chosen: npt.NDArray[np.bool_], i: int, examples: Examples
    ) -> None:
        if chosen.any():
            window = self.windows.get((label, of)) or Window(self._size)
            window.add(scores[chosen], examples.labels[chosen, i], examples.sampling_rates[chosen])
            # A new mapping each time it grows: whoever reads it goes on with the old one.
            if (label, of) not in self.windows:
                self.windows = {**self.windows, (label, of): window}


def quality(scores: Floats, labels: Floats, sampling_rates: Floats) -> Quality | None:
    """Of probabilities `float64[n]`; None without a positive or without a negative."""
    weights = np.where(labels > 0.5, 1.0, 1.0 / sampling_rates)
    positives = (weights * labels).sum()
    area = auc(scores, labels, weights)
    if area is None:
        return None
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    losses = -np.where(labels > 0.5, np.log(clipped), np.log1p(-clipped))
    return Quality(
        area, float((weights * losses).sum() / weights.sum()), float((weights * scores).sum() / positives)
    )


def auc(scores: Floats, labels: Floats, weights: Floats) -> float | None:
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
