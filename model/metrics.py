"""Progressive metrics over a window of the newest examples, per label and kind of score."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from model.parse import Examples
from model.quality import Floats, Quality, measure
from ps.arrays import Float32, Int64

_KEPT: Final = 2
"""Windows of examples that are kept: while one is judged, as many may wait for their fellows."""


class _Chunk(NamedTuple):
    columns: Floats
    """Scores, labels, sampling rates, event times (ms): `float64[4, n]`."""
    newest_ms: float
    """The newest event time when it came."""


class Window:
    """Scores of the newest examples with what came of them. Written by one thread, read by others.

    A positive comes at once, a negative when its label's window has closed. So the newest examples are nearly
    all positives, and they were scored by a later model than the negatives beside them: judged together, the
    two models would be compared. Here an example counts once event time is `delay_ms` past it, when all of
    its fellows are there. A delay longer than the examples that are kept falls back to the order of arrival.
    """

    def __init__(self, size: int, delay_ms: int) -> None:
        self._size, self._delay_ms = size, delay_ms
        self._chunks: deque[_Chunk] = deque()
        self._length = 0
        self._newest_ms = self._whole_since_ms = -np.inf
        self._lock = threading.Lock()

    def add(self, scores: Float32, labels: Float32, sampling_rates: Float32, ts_ms: Int64) -> None:
        """Take `float32[n]` each, and event times `int64[n]`."""
        columns = np.stack([scores, labels, sampling_rates, ts_ms]).astype(np.float64)
        with self._lock:
            self._newest_ms = max(self._newest_ms, float(ts_ms.max()))
            self._chunks.append(_Chunk(columns, self._newest_ms))
            self._length += len(ts_ms)
            while self._length - self._chunks[0].columns.shape[1] >= _KEPT * self._size:
                self._forget()

    def _forget(self) -> None:
        columns, self._whole_since_ms = self._chunks.popleft()
        self._length -= columns.shape[1]

    def quality(self) -> Quality | None:
        """Of the newest `size` that count; None without a positive or without a negative."""
        with self._lock:
            chunks = [chunk.columns for chunk in self._chunks]
            since_ms, until_ms = self._whole_since_ms, self._newest_ms - self._delay_ms
        if not chunks:
            return None
        columns = np.concatenate(chunks, axis=1)
        ts_ms = columns[3]
        whole = columns[:, (ts_ms > since_ms) & (ts_ms <= until_ms)]
        if np.isfinite(since_ms) and whole.shape[1] < self._size // 2:
            newest = columns[:, -self._size :]
        else:
            newest = whole[:, np.argsort(whole[3], kind="stable")[-self._size :]]
        scores, labels, rates, _ = newest
        found = measure(labels, scores, rates)
        return None if found.auc is None else found


class Progress:
    """Windows for every label and every kind of score: `fresh`, `served`, and the names after `@`."""

    def __init__(self, windows_ms: Mapping[str, int], size: int) -> None:
        """`windows_ms`: how long each label stays open, labels in the order of the schema."""
        self._windows_ms = dict(windows_ms)
        self._size = size
        self.windows: dict[tuple[str, str], Window] = {}
        """By (label, of)."""

    def add(self, examples: Examples, predictions: dict[str, Float32]) -> None:
        """Take a batch with its predictions by label, from before it was learnt."""
        labels = list(self._windows_ms)
        for i, label in enumerate(labels):
            known = examples.masks[:, i] > 0
            self._add(label, "fresh", predictions[label], known, i, examples)
        for name, scores in examples.scores.items():
            label, _, of = name.partition("@")
            if label in self._windows_ms:
                i = labels.index(label)
                there = (examples.masks[:, i] > 0) & ~np.isnan(scores)
                self._add(label, of or "served", scores, there, i, examples)

    def _add(
        self, label: str, of: str, scores: Float32, chosen: npt.NDArray[np.bool_], i: int, examples: Examples
    ) -> None:
        if not chosen.any():
            return
        window = self.windows.get((label, of)) or Window(self._size, self._windows_ms[label])
        window.add(
            scores[chosen],
            examples.labels[chosen, i],
            examples.sampling_rates[chosen],
            examples.ts_ms[chosen],
        )
        # A new mapping each time it grows: whoever reads it goes on with the old one.
        if (label, of) not in self.windows:
            self.windows = {**self.windows, (label, of): window}
