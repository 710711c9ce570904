"""Does the sum close? An impression that went in is in `examples`, sampled away, dead, or waiting.

Each side is counted on its own. In: the topics that the joiner reads, event by event, by the rules of
`docs/formats.md`. Out: what the joiner wrote. What is in neither is `waiting` as long as its window is open
or the joiner has not read it (its committed offsets tell), and `lost` after that, so that the sum can fail.

The unit is the impression, one item of one request; an event of `features` that can't be read counts as one.
An event that is in `dead-letters` counts there even if it repeats an earlier one, and as one impression when
it was too long for its letter.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from jobs.outcomes import Outcomes
from jobs.spec import Job
from jobs.topics import JoinerOffsets
from pipelines.records import Action, MalformedEvent, Request, decode_action, decode_request

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
    for message in messages:
        value, place = message.value() or b"", (message.partition(), message.offset())
        request = None if place in dead.bare else request_of(value, job)
        if request is None or place in dead.places:
            inputs.dead_impressions += 1 if request is None else _distinct(request)
            inputs.unread_impressions += place not in dead.places and not is_read(place)
            continue
        if is_read(place):
            _note_time(inputs, message, request.ts_ms, job, is_heartbeat=not request.items)
        if request.request_id in inputs.requests:
            inputs.repeated_requests += 1
        elif request.items:
            items = frozenset(item.item_id for item in request.items)
            inputs.requests[request.request_id] = Shown(request.ts_ms, items, is_read(place))


def read_actions(messages: Iterable[Message], dead: Letters, job: Job, inputs: Inputs) -> None:
    """Count the `actions` events likewise."""
    is_read = reading_of(job, job.kafka.topics.actions)
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
            inputs.actions[key] = (action.ts_ms, is_read(place))


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
    return 1 if request is None else _distinct(request)


def _distinct(request: Request) -> int:
    return len({item.item_id for item in request.items})


def watermark_ms(inputs: Inputs, job: Job) -> float:
    """How far the joiner's event time has come: that of the partition that is furthest behind."""
    if not inputs.latest_ms:
        return -math.inf
    return min(inputs.latest_ms.values()) - 1000 * job.joiner.out_of_order_s


def account_impressions(inputs: Inputs, outcomes: Outcomes, letters: Letters, job: Job) -> dict[str, Any]:
    """The sum of the impressions; `closes`: in = out + sampled + dead + waiting, and no duplicates."""
    out: dict[str, set[str]] = {}
    for request_id, item_id in zip(outcomes.request_ids, outcomes.item_ids, strict=True):
        out.setdefault(request_id, set()).add(item_id)
    waiting, lost = _unresolved(inputs, out, outcomes.sampled_away, job)
    waiting += inputs.unread_impressions
    sums = {
        "in": inputs.impressions,
        "out": sum(map(len, out.values())),
        "sampled": outcomes.sampled_away.total(),
        "dead": letters.reasons.total(),
        "waiting": waiting,
    }
    duplicates = count_duplicates(outcomes, list(job.schema_.labels))
    closes = sums["in"] == sum(sums.values()) - sums["in"] and not lost and not duplicates
    return {
        **sums,
        "closes": closes,
        "lost": lost,
        "duplicates": duplicates,
        "repeated": inputs.repeated_requests,
        "dead_by_reason": dict(letters.reasons),
    }


def _unresolved(
    inputs: Inputs, out: dict[str, set[str]], sampled_away: Counter[str], job: Job
) -> tuple[int, int]:
    """Impressions of which nothing came out, in open windows and in closed ones."""
    window_ms, now_ms = 1000 * _longest_window_s(job), watermark_ms(inputs, job)
    waiting = lost = 0
    for request_id, shown in inputs.requests.items():
        came_out = len(shown.items & out.get(request_id, set()))
        missing = len(shown.items) - came_out - sampled_away[request_id]
        if not shown.is_read or shown.ts_ms + window_ms > now_ms:
            waiting += missing
        else:
            lost += missing
    return waiting, lost


def count_duplicates(outcomes: Outcomes, labels: list[str]) -> int:
    """How often a label of an impression was resolved although it had been before."""
    seen: set[tuple[str, str, str]] = set()
    resolved = 0
    for label in labels:
        for request_id, item_id, mask in zip(
            outcomes.request_ids, outcomes.item_ids, outcomes.columns[f"mask:{label}"], strict=True
        ):
            if mask == 1:
                resolved += 1
                seen.add((request_id, item_id, label))
    return resolved - len(seen)


def account_actions(inputs: Inputs, outcomes: Outcomes, letters: Letters, job: Job) -> dict[str, Any]:
    """The sum of the actions; `closes`: in = used by an example + of no label + dead + waiting."""
    labelled = {action for label in job.schema_.labels.values() for action in label.actions}
    used = _used(outcomes, job)
    rest = {key: seen for key, seen in inputs.actions.items() if key not in used and key[2] in labelled}
    open_until_ms, now_ms = 1000 * _longest_window_s(job), watermark_ms(inputs, job)
    waiting = sum(not is_read or ts_ms + open_until_ms > now_ms for ts_ms, is_read in rest.values())
    sums = {
        "in": len(inputs.actions) + inputs.dead_actions,
        "used": len(used),
        "unused": sum(action not in labelled for _, _, action in inputs.actions),
        "dead": letters.reasons.total(),
        "waiting": waiting + inputs.unread_actions,
    }
    return {
        **sums,
        "closes": sums["in"] == sum(sums.values()) - sums["in"],
        "repeated": inputs.repeated_actions,
        "dead_by_reason": dict(letters.reasons),
    }


def _used(outcomes: Outcomes, job: Job) -> set[tuple[str, str, str]]:
    """The (request, item, action) behind every positive."""
    used: set[tuple[str, str, str]] = set()
    for name, label in job.schema_.labels.items():
        columns = zip(outcomes.columns[f"label:{name}"], outcomes.columns[f"mask:{name}"], strict=True)
        for row, (value, mask) in enumerate(columns):
            if value == 1 and mask == 1:
                ids = outcomes.request_ids[row], outcomes.item_ids[row]
                used |= {(*ids, action) for action in label.actions}
    return used


def _longest_window_s(job: Job) -> float:
    return max(label.window_s for label in job.schema_.labels.values())
