"""What the joiner was given: topics or files, event by event, by the rules of `docs/formats.md`."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from confluent_kafka import Message

from jobs.spec import Job
from jobs.summary.event_files import FileEvent, flink_name, read_files
from jobs.topics import JoinerOffsets, read_topic
from pipelines.join import rules
from pipelines.join.labels import Labels
from pipelines.join.sampling import distinct
from pipelines.records import (
    Action,
    MalformedEvent,
    Request,
    decode_action,
    decode_request,
    parse_request,
)

Place = tuple[str, int, int]
"""Topic, partition and offset of an event; of a file as its dead letters have it."""
Event: TypeAlias = Message | FileEvent


@dataclass
class Letters:
    """The dead letters of one topic: where they were, and how much each reason took."""

    places: set[Place] = field(default_factory=set)
    bare: set[Place] = field(default_factory=set)
    """Of which the letter has no value."""
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Shown:
    """One request: its event time (ms), its items, and whether the joiner has read it."""

    ts_ms: int
    items: frozenset[str]
    is_read: bool


@dataclass
class Inputs:
    """What the joiner was given: the sound events, once each, and the rest as numbers."""

    requests: dict[str, Shown] = field(default_factory=dict)
    actions: dict[tuple[str, str, str], tuple[int, bool]] = field(default_factory=dict)
    """By (request, item, action): event time (ms), and whether the joiner has read it."""
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    """Likewise: those that no label's rule accepts, in none of their events."""
    events: dict[str, bytes] = field(default_factory=dict)
    """The requests, by id, when there are rules to ask."""
    dead_keys: set[tuple[str, str, str]] = field(default_factory=set)
    """Likewise: those of which an event is among the dead letters."""
    dead_impressions: int = 0
    dead_actions: int = 0
    unread_impressions: int = 0
    """Of those that will be dead letters, how many the joiner has not read."""
    unread_actions: int = 0
    repeated_requests: int = 0
    repeated_actions: int = 0
    latest_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    """The newest event time in each (topic, partition) that the joiner has read."""

    @property
    def impressions(self) -> int:
        """Everything that has to be accounted for."""
        return self.dead_impressions + sum(len(shown.items) for shown in self.requests.values())


def read_events(job: Job, topic: str) -> Iterator[Event]:
    """What the joiner reads, or has read, as `topic`: of a backfill from its beginning to its end."""
    given = job.joiner.input
    if given is None:
        yield from read_topic(job, topic)
    elif given.kind == "files":
        url = given.features if topic == job.kafka.topics.features else given.actions
        yield from read_files(str(url), given.format)
    else:
        is_read = reading_of(job, topic)
        yield from (each for each in read_topic(job, topic) if is_read(place_of(each, topic)))


def place_of(event: Event, topic: str) -> Place:
    """Where an event of `topic` was."""
    file = event.file if isinstance(event, FileEvent) else None
    return (file or topic, event.partition(), event.offset())


def is_of(job: Job, topic: str) -> Callable[[str], bool]:
    """Says of the header `topic` of a dead letter whether the event was one of `topic`."""
    given = job.joiner.input
    if given is None or given.kind == "kafka":
        return lambda name: name == topic
    url = given.features if topic == job.kafka.topics.features else given.actions
    root = flink_name(str(url))
    return lambda name: name in (topic, root) or name.startswith(f"{root}/")


def read_letters(
    messages: Iterable[Message], is_wanted: Callable[[str], bool], weigh: Callable[[bytes], int]
) -> Letters:
    """The dead letters of one topic (`is_of`), each place once; `weigh` says what a value counts for."""
    letters = Letters()
    for message in messages:
        headers = {name: (value or b"").decode() for name, value in message.headers() or []}
        place = (headers["topic"], int(headers["partition"]), int(headers["offset"]))
        if is_wanted(headers["topic"]) and place not in letters.places:
            letters.places.add(place)
            value = message.value()
            if value is None:
                letters.bare.add(place)
            letters.reasons[headers["reason"]] += 1 if value is None else weigh(value)
    return letters


def read_requests(messages: Iterable[Event], dead: Letters, job: Job, inputs: Inputs) -> None:
    """Count the `features` events: sound ones once each, and those that belong among the dead letters."""
    topic = job.kafka.topics.features
    is_read = reading_of(job, topic)
    has_rules = any(label.when for label in job.schema_.labels.values())
    for message in messages:
        value, place = message.value() or b"", place_of(message, topic)
        request = None if place in dead.bare else request_of(value, job)
        if request is None or place in dead.places:
            inputs.dead_impressions += 1 if request is None else len(distinct(request))
            inputs.unread_impressions += place not in dead.places and not is_read(place)
            continue
        if is_read(place):
            _note_time(inputs, topic, message, request.ts_ms, job, is_heartbeat=not request.items)
        if request.request_id in inputs.requests:
            inputs.repeated_requests += 1
        elif request.items:
            items = frozenset(item.item_id for item in request.items)
            inputs.requests[request.request_id] = Shown(request.ts_ms, items, is_read(place))
            if has_rules:
                inputs.events[request.request_id] = value


def read_actions(messages: Iterable[Event], dead: Letters, job: Job, inputs: Inputs) -> None:
    """Count the `actions` events likewise; after the requests, which rules may ask for."""
    topic, labels = job.kafka.topics.actions, Labels(job.schema_)
    is_read = reading_of(job, topic)
    for message in messages:
        place = place_of(message, topic)
        action = action_of(message.value() or b"")
        if action is None or place in dead.places:
            inputs.dead_actions += 1
            if action is not None:
                inputs.dead_keys.add((action.request_id, action.item_id, action.action))
            inputs.unread_actions += place not in dead.places and not is_read(place)
            continue
        if is_read(place):
            _note_time(inputs, topic, message, action.ts_ms, job, is_heartbeat=not action.action)
        key = (action.request_id, action.item_id, action.action)
        if key in inputs.actions:
            inputs.repeated_actions += 1
        elif action.action:
            _note_action(inputs, key, action, labels, is_read=is_read(place))


def _note_action(
    inputs: Inputs, key: tuple[str, str, str], action: Action, labels: Labels, *, is_read: bool
) -> None:
    inputs.repeated_actions += key in inputs.refused
    if _is_refused(inputs.events.get(action.request_id), action, labels):
        inputs.refused.add(key)
    else:
        inputs.refused.discard(key)
        inputs.actions[key] = (action.ts_ms, is_read)


def _is_refused(event: bytes | None, action: Action, labels: Labels) -> bool:
    """Whether the joiner asks the rules about an action and they all say no."""
    uses = labels.of(action.action)
    if uses is None or event is None:
        return False
    request = parse_request(event)
    position = distinct(request).get(action.item_id)
    if position is None or abs(action.ts_ms - request.ts_ms) > uses.reach_ms:
        return False
    reading = rules.read(uses.labels, request, request.items[position], action)
    return not reading.values and not reading.failures


def reading_of(job: Job, topic: str) -> Callable[[Place], bool]:
    """Says of an event of `topic` whether the joiner has read it; without its commits, that it has."""
    given = job.joiner.input
    if given is not None and given.kind == "files":
        return lambda place: True
    if given is not None and given.ends is not None:
        # What was committed need not be all: Flink does not wait for it when a job ends.
        ends = given.ends["features" if topic == job.kafka.topics.features else "actions"]
        return lambda place: place[1] < len(ends) and place[2] < ends[place[1]]
    joiner = JoinerOffsets(job, topic)
    offsets = joiner.read()
    joiner.close()
    return lambda place: place[2] < offsets.get(place[1], math.inf)


def _note_time(inputs: Inputs, topic: str, event: Event, ts_ms: int, job: Job, *, is_heartbeat: bool) -> None:
    """As far as the joiner believes it: only heartbeats move event time ahead of the log."""
    logged_ms = event.logged_ms if isinstance(event, FileEvent) else event.timestamp()[1]
    if not is_heartbeat and logged_ms is not None:
        ts_ms = min(ts_ms, logged_ms + round(1000 * job.joiner.out_of_order_s))
    key = (topic, event.partition())
    inputs.latest_ms[key] = max(inputs.latest_ms.get(key, ts_ms), ts_ms)


def request_of(value: bytes, job: Job) -> Request | None:
    """The request in an event of `features`, None when it can't be read."""
    try:
        return decode_request(value, job.schema_)
    except MalformedEvent:
        return None


def action_of(value: bytes) -> Action | None:
    """The action in an event of `actions`, None when it can't be read."""
    try:
        return decode_action(value)
    except MalformedEvent:
        return None


def impressions_of(value: bytes, job: Job) -> int:
    """How many impressions an event of `features` counts for: its items, or 1 when it can't be read."""
    request = request_of(value, job)
    return 1 if request is None else len(distinct(request))


def watermark_ms(inputs: Inputs, job: Job) -> float:
    """How far the joiner's event time has come: that of the partition that is furthest behind.

    Of a backfill the end of the input that ends first.
    """
    latest_ms: dict[object, int] = {}
    for (topic, partition), ts_ms in inputs.latest_ms.items():
        key = topic if job.joiner.input else (topic, partition)
        latest_ms[key] = max(latest_ms.get(key, ts_ms), ts_ms)
    return min(latest_ms.values(), default=-math.inf) - 1000 * job.joiner.out_of_order_s
