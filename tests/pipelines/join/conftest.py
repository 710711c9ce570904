"""Flink in a few lines: keyed state as bytes, event-time timers, a watermark."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import orjson
import pytest

from pipelines.join import state as states
from pipelines.join.intake import Arrival, Intake
from pipelines.join.logic import DeadLetter, JoinLogic, Ready, Step
from pipelines.records import Action, Request
from pipelines.settings import JoinJob
from tests.pipelines.join.jvm import JvmEngine
from tests.pipelines.join.pool import python_join
from tests.pipelines.join.stack import Stack

FOREVER_MS = 1 << 60
NOW_MS = 1_764_000_000_000


class Engine(Protocol):
    """What runs the rules: `JoinLogic` itself, or whatever has to be equal to it."""

    def on_features(
        self,
        state: states.State | None,
        request: Request,
        arrival: Arrival,
        watermark_ms: int,
        now_ms: int,
    ) -> Step: ...

    def on_action(
        self,
        state: states.State | None,
        action: Action,
        arrival: Arrival,
        watermark_ms: Callable[[], int],
        now_ms: int,
    ) -> Step: ...

    def on_timer(self, state: states.State | None, timestamp_ms: int, now_ms: int) -> Step: ...


ENGINES: dict[str, Callable[[JoinJob], Engine]] = {"python": python_join, "jvm": JvmEngine}
"""By name: every test of the rules runs on each."""


@dataclass
class Cluster:
    """Runs an engine on records, one after the other. Nothing outlives a step but bytes."""

    job: JoinJob
    engine: Callable[[JoinJob], Engine] = JoinLogic
    watermark_ms: int = -(1 << 60)
    state: dict[str, bytes] = field(default_factory=dict)
    timers: set[tuple[int, str]] = field(default_factory=set)
    output: list[Ready | DeadLetter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    offset: int = 0

    def __post_init__(self) -> None:
        self._next: list[tuple[int, str]] = []
        self.intake = Intake(self.job)
        self.logic = self.engine(self.job)

    def send(self, value: bytes, *, is_action: bool = False) -> None:
        """A record arrives; its Kafka timestamp is that of its event."""
        self.offset += 1
        arrival = Arrival(is_action, b"k", value, 0, self.offset, orjson.loads(value)["ts"])
        event = self.intake.read(arrival, FOREVER_MS)
        before = self._read(event.request_id)
        if isinstance(event, Action):
            step = self.logic.on_action(before, event, arrival, lambda: self.watermark_ms, NOW_MS)
        else:
            step = self.logic.on_features(before, event, arrival, self.watermark_ms, NOW_MS)
        self._apply(event.request_id, step)

    def advance(self, watermark_ms: int) -> None:
        """Event time goes on; due timers fire, those they set included."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        self._next = sorted(self.timers)
        while self._next and self._next[0][0] <= self.watermark_ms:
            timestamp_ms, key = due = heapq.heappop(self._next)
            self.timers.remove(due)
            self._apply(key, self.logic.on_timer(self._read(key), timestamp_ms, NOW_MS))

    def finish(self) -> None:
        """Every window closes."""
        self.advance(FOREVER_MS)

    @property
    def examples(self) -> list:
        """All examples so far, in order."""
        return [each for ready in self.output if isinstance(ready, Ready) for each in ready.examples]

    @property
    def sampled_away(self) -> int:
        return sum(ready.sampled_away for ready in self.output if isinstance(ready, Ready))

    @property
    def dead(self) -> list[tuple[str, int]]:
        """(reason, offset) of the dead letters so far."""
        return [(each.reason, each.arrival.offset) for each in self.output if isinstance(each, DeadLetter)]

    @property
    def resolved(self) -> Counter:
        """How often each (request, item, label, value) was resolved."""
        return Counter(
            (each.request_id, each.item_id, label, each.labels[label])
            for each in self.examples
            for label, mask in each.masks.items()
            if mask
        )

    @property
    def unlabelled(self) -> int:
        return sum(ready.unlabelled for ready in self.output if isinstance(ready, Ready))

    def _read(self, key: str):
        data = self.state.get(key)
        return None if data is None else states.decode(data)

    def _apply(self, key: str, step) -> None:
        if step.state is None:
            self.state.pop(key, None)
        else:
            self.state[key] = states.encode(step.state)
        if step.timer_ms is not None and (timer := (step.timer_ms, key)) not in self.timers:
            self.timers.add(timer)
            heapq.heappush(self._next, timer)
        self.output += step.output
        self.counts.update(step.counts)


@pytest.fixture(scope="session", params=ENGINES)
def engine(request) -> Callable[[JoinJob], Engine]:
    """`engine(job)`: what runs the rules of a job."""
    return ENGINES[request.param]


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory) -> Iterator[Stack]:
    """A broker and a JobManager; each job has topics of its own (`Stack.become`)."""
    started = Stack(tmp_path_factory.mktemp("run"))
    yield started
    started.kill()


@pytest.fixture(scope="session")
def make_cluster(make_job, engine):
    """`make_cluster(rate, labels, **joiner)`: a cluster of one, without data."""
    return lambda rate=1.0, *more, **joiner: Cluster(make_job(rate, *more, **joiner), engine)


@pytest.fixture
def cluster(make_cluster) -> Cluster:
    return make_cluster()
