"""The last half hour as columns of numbers: what charts are drawn from, also for somebody who comes late."""

from collections import deque
from typing import Any, Final

from jobs.observe import Observation

FINE_S: Final = 300.0
"""So long each look is kept; after that means over `COARSE_S`."""
COARSE_S: Final = 5.0
KEPT_S: Final = 1800.0
MAX_SHARDS: Final = 8
"""Of more shards, sums and the worst are shown."""

Point = dict[str, float | None]
_DEAD: Final = ("orphan", "malformed")


def flatten(seen: Observation) -> Point:
    """The numbers of one look by the names of their columns; `at` is s since 1970, times are seconds."""
    joins = {name: rate for name, rate in seen.joins_per_s.items() if name not in _DEAD}
    dead = [rate for name in _DEAD if (rate := seen.joins_per_s[name]) is not None]
    point: Point = {
        "freshness.p50": _seconds(seen.freshness_p50_ms),
        "freshness.p99": _seconds(seen.freshness_p99_ms),
        **{f"auc.{of}": value for of, value in seen.auc.items()},
        **{f"rmse.{of}": value for of, value in seen.rmse.items()},
        **{f"rate.{stage}": value for stage, value in seen.events_per_s.items()},
        **{f"lag.{stage}": value for stage, value in seen.lag_s.items()},
        **{f"join.{name}": value for name, value in joins.items()},
        "join.dead": sum(dead) if dead else None,
        **{f"joiner.{name}": value for name, value in _of_joiner(seen).items()},
        **_flatten_shards(seen.shards),
    }
    return {"at": round(seen.at, 2), **{name: _short(value) for name, value in point.items()}}


def _of_joiner(seen: Observation) -> Point:
    joiner = seen.joiner
    return {
        "requests": joiner.waiting_requests,
        "bytes": joiner.waiting_bytes,
        "watermark": joiner.watermark_lag_s,
    }


class History:
    """Points in order of time, older ones fewer."""

    def __init__(self) -> None:
        self._fine: deque[Point] = deque()
        self._coarse: deque[Point] = deque()

    def add(self, point: Point) -> None:
        """The newest point; forgets what is older than half an hour."""
        self._fine.append(point)
        now_s = _at(point)
        while _at(self._fine[0]) < now_s - FINE_S:
            bucket = _at(self._fine[0]) // COARSE_S
            merged = []
            while self._fine and _at(self._fine[0]) // COARSE_S == bucket:
                merged.append(self._fine.popleft())
            self._coarse.append(_mean(merged))
        while self._coarse and _at(self._coarse[0]) < now_s - KEPT_S:
            self._coarse.popleft()

    def columns(self) -> dict[str, list[float | None]]:
        """Every column, all of the same length."""
        points = [*self._coarse, *self._fine]
        names = dict.fromkeys(name for point in points for name in point)
        return {name: [point.get(name) for point in points] for name in names}


def _at(point: Point) -> float:
    return point["at"] or 0.0


def _mean(points: list[Point]) -> Point:
    merged: Point = {}
    for name in points[-1]:
        values = [value for point in points if (value := point.get(name)) is not None]
        merged[name] = _short(sum(values) / len(values)) if values else None
    # Times have more digits than what is measured.
    return {**merged, "at": points[-1]["at"]}


def _flatten_shards(shards: list[dict[str, Any]]) -> Point:
    if len(shards) > MAX_SHARDS:
        rows, memory = _known(shards, "rows"), _known(shards, "memory_bytes")
        lookups = _known(shards, "lookup_p99_ms")
        return {
            "rows.all": sum(rows) if rows else None,
            "memory.all": sum(memory) if memory else None,
            "lookup.all": max(lookups, default=None),
        }
    point: Point = {}
    for i, shard in enumerate(shards):
        point |= {f"rows.{i}": shard["rows"], f"memory.{i}": shard["memory_bytes"]}
        point[f"lookup.{i}"] = shard["lookup_p99_ms"]
    return point


def _known(shards: list[dict[str, Any]], key: str) -> list[float]:
    return [shard[key] for shard in shards if shard[key] is not None]


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _short(value: float | None) -> float | None:
    """Five digits: more can't be seen, and half an hour of them is to be sent at once."""
    return value if value is None or isinstance(value, int) else float(f"{value:.5g}")
