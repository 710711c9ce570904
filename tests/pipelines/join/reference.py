"""The join over whole logs: what has to be taught, whatever the order of arrival.

Written anew from `docs/labels.md` and `docs/formats.md`, all events at once, and as directly as possible. Of
the joiner's own code it uses only what reads events and expressions.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from pipelines.join.expressions import VARIABLES, Expression, ExpressionError, variables
from pipelines.records import FLOAT32_MAX, Action, Example, Item, Request, float32
from pipelines.schema import LabelSettings
from pipelines.settings import JoinJob


class Resolution(NamedTuple):
    """One label of one impression is taught."""

    request_id: str
    item_id: str
    label: str
    value: float
    was: float | None
    """Of a correction: what is taken back; None: it is none."""
    is_otherwise: bool
    """No action is behind it."""
    sampling_rate: float


@dataclass
class Joined:
    """What comes of whole logs; the two counters by request id, of items that never leave."""

    resolutions: Counter[Resolution] = field(default_factory=Counter)
    sampled_away: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)


def join(job: JoinJob, requests: Iterable[Request], actions: Iterable[Action]) -> Joined:
    """What the joiner makes of events of which none comes behind the watermark, once every window has closed.

    Both in the order of their partitions; repeated ones and heartbeats may be among them.
    """
    joined, by_item = Joined(), defaultdict(list)
    for action in actions:
        by_item[action.request_id, action.item_id].append(action)
    for request in {each.request_id: each for each in reversed([*requests])}.values():
        items = {item.item_id: item for item in reversed(request.items)}
        for item_id, (is_kept, rate) in _sample(job, request, items).items():
            found = [
                Resolution(request.request_id, item_id, name, *lesson, rate)
                for name, label in job.schema_.labels.items()
                for lesson in _lessons(label, request, items[item_id], by_item, is_kept)
            ]
            joined.resolutions.update(found)
            if not found:
                never_left = joined.unlabelled if is_kept else joined.sampled_away
                never_left[request.request_id] += 1
    return joined


def resolutions(job: JoinJob, examples: Iterable[Example]) -> Counter[Resolution]:
    """What examples teach; of a drawn negative that is nothing."""
    found: Counter[Resolution] = Counter()
    for example in examples:
        for name in (name for name, mask in example.masks.items() if mask == 1):
            is_number, value = job.schema_.labels[name].kind == "number", example.labels[name]
            is_otherwise = example.otherwise.get(name) == 1 if is_number else value == 0
            ids, was = (example.request_id, example.item_id), example.was.get(name)
            found[Resolution(*ids, name, value, was, is_otherwise, example.sampling_rate)] += 1
    return found


Lesson = tuple[float, float | None, bool]
"""Value, was, is otherwise."""


def _lessons(
    label: LabelSettings,
    request: Request,
    item: Item,
    by_item: dict[tuple[str, str], list[Action]],
    is_kept: bool,
) -> Iterator[Lesson]:
    take = label.take if label.kind == "number" else "first"
    late_s = label.late_s if take == "first" else 0.0
    offers: list[tuple[bool, int, float]] = []
    for action in by_item[request.request_id, item.item_id]:
        distance_ms = abs(action.ts_ms - request.ts_ms)
        if action.action in label.actions and distance_ms <= (label.window_s + late_s) * 1000:
            number = _number(label, request, item, action)
            if number is not None:
                offers.append((distance_ms > label.window_s * 1000, action.ts_ms, number))
    in_window = [(ts_ms, number) for is_late, ts_ms, number in offers if not is_late]
    if in_window:
        yield _taken(take, in_window), None, False
        return
    otherwise = 0.0 if label.kind == "binary" else label.otherwise
    taught = None if otherwise is None or not is_kept else float32(otherwise) + 0.0
    if taught is not None:
        yield taught, None, True
    if offers:
        yield offers[0][2], taught, False


def _taken(take: str, offers: Sequence[tuple[int, float]]) -> float:
    if take == "first":
        return offers[0][1]
    return max(offers)[1] if take == "last" else max(number for _, number in offers)


def _number(label: LabelSettings, request: Request, item: Item, action: Action) -> float | None:
    """What an action makes of a label; None: it does not count."""
    seen = variables(VARIABLES, request, item, action)
    try:
        if label.when is not None and not _compiled(label.when, "boolean").evaluate(seen):
            return None
        if label.kind == "binary":
            return 1.0
        number = action.value if label.value is None else _compiled(label.value, "number").evaluate(seen)
    except ExpressionError:
        return None
    return float32(number) + 0.0 if abs(number) <= FLOAT32_MAX else None


@cache
def _compiled(text: str, kind: Literal["boolean", "number"]) -> Expression:
    return Expression(text, kind)


def _sample(job: JoinJob, request: Request, items: dict[str, Item]) -> dict[str, tuple[bool, float]]:
    """By item id: whether its negative is kept, and its sampling rate."""
    rates = {item_id: _rate(job, request, item) for item_id, item in items.items()}
    priorities = {item_id: _uniform(job, request, item_id) / rate for item_id, rate in rates.items()}
    cap = job.joiner.negatives.max_per_request
    sample = {}
    for item_id in sorted(items):
        others = sorted(p for other, p in priorities.items() if other != item_id)
        bound = min(1.0, math.inf if cap is None or len(others) < cap else others[cap - 1])
        sample[item_id] = (priorities[item_id] < bound, float32(rates[item_id] * bound))
    return sample


def _rate(job: JoinJob, request: Request, item: Item) -> float:
    origins = {"user": request.user, "context": request.context, "item": item.values}
    for source, rates in job.joiner.negatives.by.items():
        origin, key = source.split(".", 1)
        text = _text(origins[origin].get(key))
        if text in rates:
            return rates[text]
    return job.joiner.negatives.rate


def _text(value: Any) -> str | None:
    if value is True or value is False:
        return str(value).lower()
    return str(value) if type(value) in (int, str) else None


def _uniform(job: JoinJob, request: Request, item_id: str) -> float:
    text = f"{job.seed}\0{request.request_id}\0{item_id}"
    digest = blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53
