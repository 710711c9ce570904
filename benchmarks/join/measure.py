"""What is measured of a join, and when."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.join.cluster import BenchError, Cluster, wait_for
from benchmarks.join.drive import Drive, Input, Position
from benchmarks.join.engines import Engine, job_of
from benchmarks.join.stream import Phase, Stream, Writer, make_stream
from jobs.stack.broker import create_topics

FIRST_SHARE, LAST_SHARE = 0.3, 0.95
"""Between them a stream is measured that is too short for the times asked for."""
EMPTY: Final = 1000
"""So few impressions that their state is as good as none."""
MOST_PER_LEVEL: Final = 200_000
"""Requests that are read while so many impressions wait."""
Rates = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How long a join runs before it is measured, how long it is measured at most, on how much."""

    warm_up_s: float
    seconds: float
    events: int
    """In a topic of requests."""
    waiting: int
    """Impressions that wait in steady state, with one item a request."""
    checkpoint_s: float


class Bench:
    """Runs joins on streams, one after another."""

    def __init__(self, cluster: Cluster, sizes: Sizes) -> None:
        self._cluster, self._sizes = cluster, sizes

    @contextmanager
    def case(self, items: int) -> Iterator[tuple[Input, Input]]:
        """The same requests of so many items twice: as they are, and as one event per item."""
        # Longer ones are read more slowly.
        events = self._sizes.events if items == 1 else self._sizes.events // 2
        stream = make_stream(items, [Phase(events, self._waiting(items))], self._cluster.kafka.partitions)
        with self.written(stream, f"features_{items}") as whole:
            if items == 1:
                yield whole, whole
            else:
                begin = stream.first(events // items)
                with self.written(begin, f"features_{items}_split", events_per_request=items) as split:
                    yield whole, split

    def _waiting(self, items: int) -> int:
        """Impressions that wait: some seconds' reading, or nobody could say how many a savepoint has met."""
        return self._sizes.waiting if items == 1 else self._sizes.waiting * items // 2

    @contextmanager
    def written(self, stream: Stream, topic: str, events_per_request: int = 1) -> Iterator[Input]:
        """The requests in a topic, which is deleted afterwards: the disk is not for all of them at once."""
        topics = self._cluster.kafka.topics.model_copy(update={"features": topic})
        create_topics(self._cluster.kafka.model_copy(update={"topics": topics}))
        events = stream.request_events(one_item=events_per_request > 1)
        written_bytes = Writer(self._cluster.kafka.bootstrap, topic).write(events)
        yield Input(topic, stream, events_per_request, written_bytes)
        self._cluster.delete_topics(topic)

    @contextmanager
    def running(self, name: str, engine: Engine, given: Input) -> Iterator[tuple[str, Drive]]:
        """A join on a new TaskManager: the id of its job, and what keeps it running."""
        job = self._cluster.placed(job_of(name, given.topic, engine.joiner, self._sizes.checkpoint_s))
        actions = Writer(job.kafka.bootstrap, job.kafka.topics.actions)
        with (
            self._cluster.task_manager() as process,
            self._cluster.running(job, engine.submission) as job_id,
        ):
            yield job_id, Drive(given, actions, self._cluster.metrics_address, process)
        self._cluster.delete_topics(name)

    def rates(self, name: str, engine: Engine, given: Input) -> Rates:
        """Speed and size in steady state."""
        with self.running(name, engine, given) as (job_id, drive):
            positions = iter(drive)
            first = self._first(drive, positions, 2 * self._waiting(given.stream.items))
            last = self._last(drive, positions, first)
            found = drive.rates(first, last) | self._state(job_id, positions)
            self._check_output(name, (drive.impressions(first) - first.waiting) // given.stream.items)
            return found

    def _first(self, drive: Drive, positions: Iterator[Position], full: int) -> Position:
        start = next(positions)
        for position in positions:
            is_warm = position.at_s - start.at_s >= self._sizes.warm_up_s
            is_full = drive.impressions(position) >= full
            if (is_warm and is_full) or drive.share(position) >= FIRST_SHARE:
                return position
        raise AssertionError("positions do not end")

    def _last(self, drive: Drive, positions: Iterator[Position], first: Position) -> Position:
        for position in positions:
            if position.at_s - first.at_s >= self._sizes.seconds or drive.share(position) >= LAST_SHARE:
                return position
        raise AssertionError("positions do not end")

    def _state(self, job_id: str, positions: Iterator[Position]) -> Rates:
        number = self._cluster.begin_savepoint(job_id)
        whole_bytes, waiting = None, []
        while whole_bytes is None:
            waiting.append(next(positions).waiting)
            whole_bytes = self._cluster.savepoint_bytes(job_id, number)
        mean = statistics.mean(waiting)
        if mean <= 0:
            raise BenchError("nothing waited while the savepoint was written")
        return {
            "state_bytes_per_waiting_impression": whole_bytes / mean,
            "checkpoint_bytes_per_waiting_impression": self._cluster.checkpoint_bytes(job_id) / mean,
            "waiting": mean,
        }

    def _check_output(self, name: str, closed_requests: int) -> None:
        """A join that wrote nothing, or only dead letters, would be the fastest of all."""
        wanted = closed_requests // 2
        wait_for(lambda: self._cluster.messages(f"{name}_examples") >= wanted, f"{wanted} messages of {name}")
        if dead := self._cluster.messages(f"{name}_dead_letters"):
            raise BenchError(f"{name} has written {dead} dead letters: its figures mean nothing")

    def waiting(self, engine: Engine, items: int, levels: Sequence[int]) -> Iterator[tuple[str, Rates]]:
        """Speed while so many impressions wait, one level after another in one run."""
        requests = min(self._sizes.events, MOST_PER_LEVEL)
        # Before the first is measured the JVM compiles.
        warm_up = Phase(2 * requests, EMPTY)
        phases = [warm_up, *(Phase(requests + level // items, level) for level in levels)]
        stream = make_stream(items, phases, self._cluster.kafka.partitions)
        with (
            self.written(stream, "features_waiting") as given,
            self.running("waiting", engine, given) as (job_id, drive),
        ):
            positions = iter(drive)
            end = 0
            for level, phase in zip(("empty", *levels), phases, strict=True):
                end += phase.requests
                first = next(p for p in positions if drive.requests(p) >= end - requests)
                last = next(p for p in positions if drive.requests(p) >= end - requests // 20)
                sizes = {"waiting": last.waiting, "checkpoint_bytes": self._cluster.checkpoint_bytes(job_id)}
                yield str(level), drive.rates(first, last) | sizes


def median(rounds: Sequence[Rates]) -> Rates:
    """Of each figure."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
