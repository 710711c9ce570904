"""Progressive metrics over a window of the newest examples, per label and kind of score."""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from model.parse import Examples
from model.quality import Floats, Quality, Sightings, measure, sightings
from pipelines.schema import LabelKind, LabelSettings
from ps.arrays import Float32, Int64

_KEPT: Final = 2
"""Windows of examples that are kept: while one is judged, as many may wait for their fellows."""


class Judgement(NamedTuple):
    """How the scores of a label are judged."""

    kind: LabelKind
    delay_ms: int
    """After so much event time all is known of an example."""

    @classmethod
    def of(cls, label: LabelSettings) -> "Judgement":
        """That of a label of the schema."""
        return cls(label.kind, round(1000 * (label.window_s + label.late_s)))


class _Chunk(NamedTuple):
    columns: Floats
    """Sightings and event times (ms): `float64[4, n]`."""
    newest_ms: float
    """The newest event time when it came."""


class Window:
    """Scores of the newest examples with what came of them. Written by one thread, read by others.

    A positive comes at once, a negative when its label's window has closed, a correction later still. So the
    newest examples are nearly all positives, and they were scored by a later model than the negatives beside
    them: judged together, the two models would be compared. Here an example counts once event time is past it
    by the judgement's delay, when all of its fellows are there. A delay longer than the examples that are
    kept falls back to the order of arrival.
    """

    def __init__(self, size: int, judgement: Judgement) -> None:
        self._size, self._judgement = size, judgement
        self._chunks: deque[_Chunk] = deque()
        self._length = 0
        self._newest_ms = self._whole_since_ms = -np.inf
        self._lock = threading.Lock()

    def add(self, seen: Sightings, ts_ms: Int64) -> None:
        """Take n sightings and their event times, `int64[n]`."""
        columns = np.stack([*seen, ts_ms.astype(np.float64)])
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
        """Of the newest `size` that count; None when they are too few to say, as without a positive."""
        with self._lock:
            chunks = [chunk.columns for chunk in self._chunks]
            since_ms, until_ms = self._whole_since_ms, self._newest_ms - self._judgement.delay_ms
        if not chunks:
            return None
        columns = np.concatenate(chunks, axis=1)
        ts_ms = columns[3]
        whole = columns[:, (ts_ms > since_ms) & (ts_ms <= until_ms)]
        if np.isfinite(since_ms) and whole.shape[1] < self._size // 2:
            newest = columns[:, -self._size :]
        else:
            newest = whole[:, np.argsort(whole[3], kind="stable")[-self._size :]]
        found = measure(Sightings(*newest[:3]), self._judgement.kind)
        return None if found.auc is None and found.rmse is None else found


class Progress:
    """Windows for every label and every kind of score: `fresh`, `served`, and the names after `@`."""

    def __init__(self, labels: Mapping[str, Judgement], size: int) -> None:
        """`labels` in the order of the schema."""
        self._labels = dict(labels)
        self._size = size
        self.windows: dict[tuple[str, str], Window] = {}
        """By (label, of)."""

    def add(self, examples: Examples, predictions: dict[str, Float32]) -> None:
        """Take a batch with its predictions by label, from before it was learnt."""
        for label, scores in predictions.items():
            self._add(label, "fresh", scores, examples)
        for name, scores in examples.scores.items():
            label, _, of = name.partition("@")
            if label in self._labels:
                self._add(label, of or "served", scores, examples)

    def _add(self, label: str, of: str, scores: Float32, examples: Examples) -> None:
        i = list(self._labels).index(label)
        chosen = (examples.masks[:, i] > 0) & ~np.isnan(scores)
        if not chosen.any():
            return
        columns = (examples.labels[:, i], scores, examples.otherwise[:, i], examples.was[:, i])
        seen, rows = sightings(*(column[chosen] for column in (*columns, examples.sampling_rates)))
        window = self.windows.get((label, of)) or Window(self._size, self._labels[label])
        window.add(seen, examples.ts_ms[chosen][rows])
        # A new mapping each time it grows: whoever reads it goes on with the old one.
        if (label, of) not in self.windows:
            self.windows = {**self.windows, (label, of): window}
