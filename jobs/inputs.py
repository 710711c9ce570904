"""What the joiner was given: the topics that it reads, event by event, by the rules of `docs/formats.md`."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import Message

from jobs.spec import Job
from jobs.topics import JoinerOffsets
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

Place = tuple[int, int]
"""Partition and offset of an event."""


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


def read_letters(messages: Iterable[Message], topic: str, weigh: Callable[[bytes], int]) -> Letters:
    """The dead letters that came from `topic`, each place once; `weigh` says what a value counts for."""
    letters = Letters()
    for message in messages:
        headers = {name: (value or b"").decode() for name, value in message.headers() or []}
        place = (int(headers["partition"]), int(headers["offset"]))
        if headers["topic"] == topic and place not in letters.places:
            letters.places.add(place)
            value = message.value()
            if value is None:
                letters.bare.add(place)
            letters.reasons[headers["reason"]] += 1 if value is None else weigh(value)
    return letters


def read_requests(messages: Iterable[Message], dead: Letters, job: Job, inputs: Inputs) -> None:
    """Count the `features` events: sound ones once each, and those that belong among the dead letters."""
    is_read = reading_of(job, job.kafka.topics.features)
    has_rules = any(label.when for label in job.schema_.labels.values())
    for message in messages:
        value, place = message.value() or b"", (message.partition(), message.offset())
        request = None if place in dead.bare else request_of(value, job)
        if request is None or place in dead.places:
            inputs.dead_impressions += 1 if request is None else len(distinct(request))
            inputs.unread_impressions += place not in dead.places and not is_read(place)
            continue
        if is_read(place):
            _note_time(inputs, message, request.ts_ms, job, is_heartbeat=not request.items)
        if request.request_id in inputs.requests:
            inputs.repeated_requests += 1
        elif request.items:
            items = frozenset(item.item_id for item in request.items)
            inputs.requests[request.request_id] = Shown(request.ts_ms, items, is_read(place))
            if has_rules:
                inputs.events[request.request_id] = value


def read_actions(messages: Iterable[Message], dead: Letters, job: Job, inputs: Inputs) -> None:
    """Count the `actions` events likewise; after the requests, which rules may ask for."""
    is_read, labels = reading_of(job, job.kafka.topics.actions), Labels(job.schema_)
    for message in messages:
        place = (message.partition(), message.offset())
        action = action_of(message.value() or b"")
        if action is None or place in dead.places:
            inputs.dead_actions += 1
            inputs.unread_actions += place not in dead.places and not is_read(place)
            continue
        if is_read(place):
            _note_time(inputs, message, action.ts_ms, job, is_heartbeat=not action.action)
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
    joiner = JoinerOffsets(job, topic)
    offsets = joiner.read()
    joiner.close()
    return lambda place: place[1] < offsets.get(place[0], math.inf)


def _note_time(inputs: Inputs, message: Message, ts_ms: int, job: Job, *, is_heartbeat: bool) -> None:
    """As far as the joiner believes it: only heartbeats move event time ahead of the log."""
    if not is_heartbeat:
        ts_ms = min(ts_ms, message.timestamp()[1] + round(1000 * job.joiner.out_of_order_s))
    key = (message.topic(), message.partition())
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
    """How far the joiner's event time has come: that of the partition that is furthest behind."""
    if not inputs.latest_ms:
        return -math.inf
    return min(inputs.latest_ms.values()) - 1000 * job.joiner.out_of_order_s
