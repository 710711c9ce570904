"""Keeps a running join supplied with actions, and looks at it meanwhile.

Requests stand in their topic beforehand. Actions are written as the requests that they belong to are read: a
join that could read them all at the start would find nearly every action there before its request, which is
not how events come.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil

from benchmarks.join.cluster import BenchError
from benchmarks.join.stream import WINDOW_S, Stream, Writer
from jobs.http import ask
from jobs.scrape import read_samples

LOOK_S: Final = 0.5
STALL_S: Final = 60.0
_OFFSET, _WATERMARK = "currentOffset", "currentInputWatermark"


@dataclass(frozen=True)
class Position:
    """How far a join has come. `features`, `actions`: events read; `waiting`: impressions in its state.

    Processor seconds so far: `cpu_s` of the TaskManager, `others_cpu_s` of what does not belong to the
    benchmark.
    """

    at_s: float
    features: int
    actions: int
    waiting: int
    cpu_s: float
    others_cpu_s: float

    @property
    def events(self) -> int:
        return self.features + self.actions


@dataclass(frozen=True)
class Input:
    """A topic with the requests of a stream."""

    topic: str
    stream: Stream
    events_per_request: int
    written_bytes: int

    @property
    def bytes_per_impression(self) -> float:
        return self.written_bytes / self.stream.requests / self.stream.items


class Drive:
    """One join on one topic of requests."""

    def __init__(
        self, given: Input, actions: Writer, metrics_address: str, task_manager: psutil.Process
    ) -> None:
        self._stream, self._events_per_request = given.stream, given.events_per_request
        self._topics, self._actions = (given.topic, actions.topic), actions
        self._metrics_url = f"http://{metrics_address}/metrics"
        self._task_manager, self._benchmark = task_manager, psutil.Process()
        self._released = 0

    def __iter__(self) -> Iterator[Position]:
        """Positions, one every half second; actions follow them. Raises BenchError when nothing moves."""
        before = self._look()
        moved_s = before.at_s
        yield before
        while True:
            now = self._look()
            self._release(now, before)
            if now.events > before.events or self.share(now) == 1:
                moved_s = now.at_s
            elif now.at_s - moved_s > STALL_S:
                raise BenchError(f"the join has not read anything for {STALL_S:.0f} s, at {now}")
            yield now
            before = now
            time.sleep(max(0.0, now.at_s + LOOK_S - time.monotonic()))

    def share(self, position: Position) -> float:
        """Which part of the requests is read."""
        return self.requests(position) / self._stream.requests

    def requests(self, position: Position) -> int:
        return position.features // self._events_per_request

    def impressions(self, position: Position) -> int:
        return self.requests(position) * self._stream.items

    def rates(self, first: Position, last: Position) -> dict[str, Any]:
        """What happened between two positions, by the names of the JSON."""
        took_s, events = last.at_s - first.at_s, last.events - first.events
        impressions = self.impressions(last) - self.impressions(first)
        if not impressions:
            raise BenchError("everything was read before it could be measured: more events are needed")
        return {
            "events_per_s": events / took_s,
            "impressions_per_s": impressions / took_s,
            "cpu_s_per_million_events": (last.cpu_s - first.cpu_s) / events * 1e6,
            "seconds": took_s,
            "others_cpu_cores": (last.others_cpu_s - first.others_cpu_s) / took_s,
        }

    def _release(self, now: Position, before: Position) -> None:
        """Writes the actions of what is read until the next look, as far as can be foreseen."""
        ahead = (2 * now.features - before.features) // self._events_per_request
        last = len(self._stream.action_ts_ms)
        if ahead < self._stream.requests:
            last = int(np.searchsorted(self._stream.action_ts_ms, self._stream.ts_ms[ahead], "right"))
        if last > self._released:
            self._actions.write(self._stream.action_events(self._released, last))
            self._released = last

    def _look(self) -> Position:
        body = ask(self._metrics_url, 5.0)
        offsets = dict.fromkeys(self._topics, 0)
        watermarks_ms = []
        for sample in read_samples(body, (_OFFSET, _WATERMARK)):
            topic = sample.labels.get("topic")
            if sample.name.endswith(_OFFSET) and topic in offsets:
                offsets[topic] += round(max(sample.value + 1, 0))
            elif (
                sample.name.endswith(_WATERMARK) and "join" in sample.labels.get("operator_name", "").lower()
            ):
                watermarks_ms.append(sample.value)
        features, actions = offsets.values()
        closed_ms = min(watermarks_ms, default=0) - WINDOW_S * 1000
        closed = int(np.searchsorted(self._stream.ts_ms, closed_ms, "right"))
        waiting = (features // self._events_per_request - closed) * self._stream.items
        return Position(time.monotonic(), features, actions, waiting, *self._cpu_s())

    def _cpu_s(self) -> tuple[float, float]:
        busy = psutil.cpu_times()
        own = _of_tree(self._benchmark)
        return _of_tree(self._task_manager), busy.user + busy.system + busy.nice - own


def _of_tree(process: psutil.Process) -> float:
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)
