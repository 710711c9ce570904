"""What happens to a request and its actions: the join itself, without Flink, clock or I/O.

Each (item, label) is resolved exactly once: with 1 as soon as an action of the label has met its request,
with 0 when the label's window closes without one. Event time decides: an action counts when it is at most one
window away from its request (before it, too: two clocks wrote them), and a window closes when the watermark
says that no such action can come any more. So the result does not depend on the order of arrival as long as
events come within `out_of_order_s`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from pipelines.join.intake import Arrival
from pipelines.join.state import Closed, Early, EarlyAction, State, Waiting, label_id
from pipelines.records import Action, Example, Item, Request, decode_action, extract, parse_request
from pipelines.settings import JoinJob

MAX_EARLY_ACTIONS: Final = 256
"""More actions than that do not wait for one request: its state must stay small, whatever producers do."""
MAX_EARLY_BYTES: Final = 1 << 20
"""Nor do more when those that wait are longer than that."""


class Label(NamedTuple):
    """A label as the join needs it."""

    name: str
    id: int
    actions: tuple[str, ...]
    window_ms: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What goes to `examples` together."""

    request_id: str
    examples: tuple[Example, ...]
    sampled_away: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, and why."""

    arrival: Arrival
    reason: str
    detail: str


@dataclass(slots=True)
class Step:
    """What one event or timer leads to: the state from now on, a further timer, messages, counts."""

    state: State | None
    timer_ms: int | None = None
    output: list[Ready | DeadLetter] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, number: int = 1) -> None:
        """Adds to a count."""
        self.counts[name] = self.counts.get(name, 0) + number

    def bury(self, arrival: Arrival, reason: str, detail: str) -> None:
        """Sends a record to the dead letters."""
        self.output.append(DeadLetter(arrival, reason, detail))
        self.count("orphans" if reason == "orphan" else reason)


class JoinLogic:
    """The rules. Stateless: the state of the one request at hand comes in and goes out with each step."""

    def __init__(self, job: JoinJob) -> None:
        self._schema = job.schema_
        self._rate = job.joiner.negatives.rate
        self._seed = job.seed
        self._labels = tuple(
            Label(name, label_id(name), label.actions, round(label.window_s * 1000))
            for name, label in job.schema_.labels.items()
        )
        self._by_action: dict[str, tuple[Label, ...]] = {}
        for label in self._labels:
            for action in label.actions:
                self._by_action[action] = (*self._by_action.get(action, ()), label)
        self._longest_ms = max(label.window_ms for label in self._labels)

    def on_features(
        self, state: State | None, request: Request, arrival: Arrival, watermark_ms: int, now_ms: int
    ) -> Step:
        """A request has come. `watermark_ms`: no event up to then is expected any more."""
        step = Step(state)
        if isinstance(state, Waiting | Closed):
            step.count("duplicates")
            return step
        if request.ts_ms + self._longest_ms <= watermark_ms:
            step.bury(arrival, "late", f"all windows had closed {watermark_ms - request.ts_ms} ms after `ts`")
            return step
        assert arrival.value is not None
        waiting = Waiting(request.ts_ms, request.ts_ms, arrival.value)
        step.state = waiting
        step.timer_ms = self._next_close(waiting)
        distinct = len({item.item_id for item in request.items})
        step.count("impressions", distinct)
        if distinct < len(request.items):
            step.count("duplicates", len(request.items) - distinct)
        if isinstance(state, Early):
            for early in state.actions:
                self._react(step, request, decode_action(early.value), _arrival(early), now_ms)
        return step

    def on_action(
        self,
        state: State | None,
        action: Action,
        arrival: Arrival,
        watermark_ms: Callable[[], int],
        now_ms: int,
    ) -> Step:
        """An action has come."""
        step = Step(state)
        labels = self._by_action.get(action.action)
        if labels is None:
            step.count("unused")
        elif isinstance(state, Waiting):
            request = parse_request(state.value)
            self._react(step, request, action, arrival, now_ms)
        elif isinstance(state, Closed):
            if any((action.item_id, label.id) in state.positives for label in labels):
                step.count("duplicates")
            else:
                step.bury(arrival, "late", "every window of its request had closed")
        elif self._expiry(action) <= watermark_ms():
            step.bury(arrival, "late", "its window had closed, whatever its request")
        else:
            self._keep(step, state, action, arrival)
        return step

    def on_timer(self, state: State | None, timestamp_ms: int, now_ms: int) -> Step:
        """Event time has reached a timer of this request. One that means nothing any more changes nothing."""
        step = Step(state)
        if isinstance(state, Early):
            self._expire(step, state, timestamp_ms)
        elif isinstance(state, Waiting):
            self._close(step, state, timestamp_ms, now_ms)
        elif isinstance(state, Closed) and self._forget_ms(state) <= timestamp_ms:
            step.state = None
        return step

    def _react(self, step: Step, request: Request, action: Action, arrival: Arrival, now_ms: int) -> None:
        state = step.state
        assert isinstance(state, Waiting)
        position = _position(request, action.item_id)
        if position is None:
            step.bury(arrival, "orphan", f"its request has no item {action.item_id[:80]!r}")
            return
        labels = self._by_action[action.action]
        resolved = [label for label in labels if self._takes(state, position, action, label)]
        if resolved:
            positives = state.positives | {(position, label.id) for label in resolved}
            step.state = Waiting(state.ts_ms, state.closed_through_ms, state.value, positives)
            example = self._example(
                request, request.items[position], resolved, 1.0, now_ms, action.ts_ms, arrival.logged_ts_ms
            )
            step.output.append(Ready(request.request_id, (example,)))
            step.count("examples")
            step.count("positives")
        elif any((position, label.id) in state.positives for label in labels):
            step.count("duplicates")
        elif action.ts_ms < state.ts_ms:
            step.bury(arrival, "orphan", f"{state.ts_ms - action.ts_ms} ms before its request")
        else:
            step.bury(arrival, "late", f"{action.ts_ms - state.ts_ms} ms after its request, after its window")

    def _takes(self, state: Waiting, position: int, action: Action, label: Label) -> bool:
        is_open = state.closed_through_ms < state.ts_ms + label.window_ms
        is_near = abs(action.ts_ms - state.ts_ms) <= label.window_ms
        return is_open and is_near and (position, label.id) not in state.positives

    def _keep(self, step: Step, state: Early | None, action: Action, arrival: Arrival) -> None:
        """Lets an action wait for its request."""
        assert arrival.value is not None
        actions = state.actions if state else ()
        known = [decode_action(early.value) for early in actions]
        # Of two clicks on one item both wait: which of them is near enough, only the request can tell.
        if action in known:
            step.count("duplicates")
        elif len(actions) >= MAX_EARLY_ACTIONS or sum(map(_size_bytes, actions)) > MAX_EARLY_BYTES:
            step.bury(arrival, "orphan", f"{len(actions)} actions wait for its request already")
        else:
            early = EarlyAction(
                arrival.key, arrival.value, arrival.partition, arrival.offset, arrival.logged_ts_ms
            )
            step.state = Early((*actions, early))
            # One timer waits, for the first to give up.
            if all(self._expiry(action) < self._expiry(other) for other in known):
                step.timer_ms = self._expiry(action)

    def _expire(self, step: Step, state: Early, timestamp_ms: int) -> None:
        expiries = [self._expiry(decode_action(early.value)) for early in state.actions]
        left = [early for early, at in zip(state.actions, expiries, strict=True) if at > timestamp_ms]
        for early, at in zip(state.actions, expiries, strict=True):
            if at <= timestamp_ms:
                step.bury(_arrival(early), "orphan", "no request came for it before its window had passed")
        step.state = Early(tuple(left)) if left else None
        step.timer_ms = min((at for at in expiries if at > timestamp_ms), default=None)

    def _close(self, step: Step, state: Waiting, timestamp_ms: int, now_ms: int) -> None:
        through_ms, since_ms = timestamp_ms - state.ts_ms, state.closed_through_ms - state.ts_ms
        closing = [label for label in self._labels if since_ms < label.window_ms <= through_ms]
        if not closing:
            return
        request = parse_request(state.value)
        closed = Waiting(state.ts_ms, timestamp_ms, state.value, state.positives)
        is_last = self._longest_ms <= through_ms
        examples = tuple(self._negatives(request, state, closing, now_ms))
        sampled_away = sum(1 for _ in self._never_left(request, state)) if is_last else 0
        if examples or sampled_away:
            step.output.append(Ready(request.request_id, examples, sampled_away))
            step.count("examples", len(examples))
            step.count("negatives", len(examples))
            step.count("sampled_away", sampled_away)
        if is_last:
            ids = [item.item_id for item in request.items]
            step.state = Closed(state.ts_ms, frozenset((ids[item], label) for item, label in state.positives))
            step.timer_ms = self._forget_ms(step.state)
        else:
            step.state = closed
            step.timer_ms = self._next_close(closed)

    def _negatives(
        self, request: Request, state: Waiting, closing: list[Label], now_ms: int
    ) -> Iterator[Example]:
        for position, item in _distinct(request):
            labels = [label for label in closing if (position, label.id) not in state.positives]
            if labels and self._is_kept(request.request_id, item.item_id):
                yield self._example(request, item, labels, 0.0, now_ms, 0, 0)

    def _never_left(self, request: Request, state: Waiting) -> Iterator[str]:
        left = {position for position, _ in state.positives}
        for position, item in _distinct(request):
            if position not in left and not self._is_kept(request.request_id, item.item_id):
                yield item.item_id

    def _is_kept(self, request_id: str, item_id: str) -> bool:
        """Whether a negative of this item is sampled: the same answer in every run with the same seed."""
        if self._rate >= 1.0:
            return True
        digest = blake2b(f"{self._seed}\0{request_id}\0{item_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self._rate * 2**64

    def _example(
        self,
        request: Request,
        item: Item,
        resolved: Iterable[Label],
        value: float,
        now_ms: int,
        action_ts_ms: int,
        action_logged_ts_ms: int,
    ) -> Example:
        labels = {label.name: 0.0 for label in self._labels}
        masks = dict(labels)
        for label in resolved:
            labels[label.name] = value
            masks[label.name] = 1.0
        return Example(
            request_id=request.request_id,
            item_id=item.item_id,
            ts_ms=request.ts_ms,
            joined_ts_ms=now_ms,
            action_ts_ms=action_ts_ms,
            action_logged_ts_ms=action_logged_ts_ms,
            sampling_rate=self._rate,
            features=extract(self._schema, request.user, request.context, item.values),
            labels=labels,
            masks=masks,
            scores=item.scores,
        )

    def _next_close(self, state: Waiting) -> int:
        since_ms = state.closed_through_ms - state.ts_ms
        return state.ts_ms + min(label.window_ms for label in self._labels if label.window_ms > since_ms)

    def _expiry(self, action: Action) -> int:
        return action.ts_ms + max(label.window_ms for label in self._by_action[action.action])

    def _forget_ms(self, state: Closed) -> int:
        # From then on, an action that happened within a window is late whatever is known of its request.
        return state.ts_ms + 2 * self._longest_ms


def _arrival(early: EarlyAction) -> Arrival:
    return Arrival(True, early.key, early.value, early.partition, early.offset, early.logged_ts_ms)


def _size_bytes(early: EarlyAction) -> int:
    return len(early.key or b"") + len(early.value)


def _position(request: Request, item_id: str) -> int | None:
    return next((at for at, item in enumerate(request.items) if item.item_id == item_id), None)


def _distinct(request: Request) -> Iterator[tuple[int, Item]]:
    """The items with their positions; of those that repeat an id, the first."""
    seen: set[str] = set()
    for position, item in enumerate(request.items):
        if item.item_id not in seen:
            seen.add(item.item_id)
            yield position, item
