"""Freshness, measured: from a user's action to the first answered prediction that used it.

The updates carry samples: impressions that a shard has learnt from, by their place in `examples`. Every push
goes to every shard, so shard 0 tells all samples; one is *ready* when the rows here hold what **every** shard
learnt up to its place (the marks), and *served* by the next prediction that is answered.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ps.arrays import Float32, Int64
from ps.updates import Sample, Update

WINDOW_S: Final = 60.0
MAX_WAITING: Final = 1 << 16
"""Of samples that wait for a slow shard, or for a prediction, the newest are kept: they only measure."""

# The whole run is kept as counts of values that are 1 % apart, from 1 ms to 12 days.
_EDGES_S: Final = np.geomspace(1e-3, 1e6, 2083)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Freshness of `count` samples in seconds; None when there were none."""

    count: int
    p50_s: float | None
    p99_s: float | None


class Freshness:
    """Follows samples from updates to predictions. Thread-safe."""

    def __init__(self, shards: int) -> None:
        self._lock = threading.Lock()
        self._shards = shards
        self._waiting: deque[Sample] = deque(maxlen=MAX_WAITING)
        self._measured_to: dict[int, int] = {}
        self._ready: deque[int] = deque(maxlen=MAX_WAITING)
        self._recent: deque[tuple[float, Float32]] = deque()
        self._counts = np.zeros(len(_EDGES_S) + 1, np.int64)
        self.sum_s = 0.0

    def applied(self, update: Update, marks: Mapping[int, Mapping[int, int]]) -> None:
        """`update` is in the rows now, and the shards (0, 1, …) have come to `marks`.

        Samples before a place that was measured are left out: a restarted shard learns and tells them again.
        """
        with self._lock:
            if update.shard == 0:
                self._waiting.extend(s for s in update.samples if s.action_ts_ms > 0)
            reached = self._reached(marks)
            still: list[Sample] = []
            for sample in self._waiting:
                if sample.offset >= reached.get(sample.partition, 0):
                    still.append(sample)
                elif sample.offset >= self._measured_to.get(sample.partition, 0):
                    self._ready.append(sample.action_ts_ms)
            self._waiting = deque(still, maxlen=MAX_WAITING)
            for partition, place in reached.items():
                self._measured_to[partition] = max(place, self._measured_to.get(partition, 0))

    def skip(self) -> None:
        """Forget what is ready: it was read from the past, and says nothing about this replica."""
        with self._lock:
            self._ready.clear()

    def take(self) -> Int64:
        """Action times `int64[n]`, ms, of what no prediction has used yet. Call before reading rows."""
        with self._lock:
            if not self._ready:
                return _NONE
            taken = np.array(self._ready, np.int64)
            self._ready.clear()
            return taken

    def put_back(self, taken: Int64) -> None:
        """The prediction that `taken` was for was not answered."""
        with self._lock:
            self._ready.extend(taken.tolist())

    def served(self, taken: Int64) -> Float32:
        """The prediction that `taken` was for is answered now; the freshness of each, seconds."""
        seconds: Float32 = np.maximum(time.time() - taken / 1000, 0).astype(np.float32)
        with self._lock:
            self._recent.append((time.monotonic(), seconds))
            self._forget_old()
            np.add.at(self._counts, np.searchsorted(_EDGES_S, seconds), 1)
            self.sum_s += float(seconds.sum())
        return seconds

    def last_minute(self) -> Quantiles:
        """Of the samples served in the last minute."""
        with self._lock:
            self._forget_old()
            recent = [seconds for _, seconds in self._recent]
        if not recent:
            return Quantiles(0, None, None)
        values = np.concatenate(recent)
        p50, p99 = np.percentile(values, (50, 99))
        return Quantiles(len(values), float(p50), float(p99))

    def whole_run(self) -> Quantiles:
        """Of all samples served since the start; at most 1 % too high."""
        with self._lock:
            counts = self._counts.copy()
        total = int(counts.sum())
        if not total:
            return Quantiles(0, None, None)
        return Quantiles(total, _quantile(counts, 0.5), _quantile(counts, 0.99))

    def _reached(self, marks: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
        """The place in each partition up to which every shard has learnt."""
        each = [marks.get(shard, {}) for shard in range(self._shards)]
        return {p: min(m.get(p, 0) for m in each) for p in each[0]}

    def _forget_old(self) -> None:
        oldest = time.monotonic() - WINDOW_S
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()


_NONE: Final = np.empty(0, np.int64)


def _quantile(counts: npt.NDArray[np.int64], q: float) -> float:
    """The upper edge of the bucket that holds the quantile."""
    bucket = int(np.searchsorted(np.cumsum(counts), q * counts.sum()))
    return float(_EDGES_S[min(bucket, len(_EDGES_S) - 1)])
