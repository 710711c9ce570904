"""What happens to a request and its actions: the join itself, without Flink, clock or I/O.

Each (item, label) is settled once: by the action that its label takes, or by the close of the label's window
without one; a late action may correct the latter. Event time decides (`join.labels`), and a window closes
when the watermark says that no action of it can come any more. So the result does not depend on the order of
arrival as long as events come within `out_of_order_s`; only where several actions would do, and the first to
come is taken, is it that one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pipelines.join import rules
from pipelines.join.intake import Arrival
from pipelines.join.labels import Fate, Label, Labels, fate
from pipelines.join.lessons import ExampleWriter, Lesson, at_close
from pipelines.join.sampling import Sample, Sampler, distinct
from pipelines.join.state import Closed, Early, EarlyAction, State, Taken, Waiting
from pipelines.records import Action, Example, Request, decode_action, parse_request
from pipelines.settings import JoinJob

MAX_EARLY_ACTIONS: Final = 256
"""More actions than that do not wait for one request: its state must stay small, whatever producers do."""
MAX_EARLY_BYTES: Final = 1 << 20
"""Nor do more when those that wait are longer than that."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What goes to `examples` together."""

    request_id: str
    examples: tuple[Example, ...]
    sampled_away: int = 0
    unlabelled: int = 0


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

    def give(self, ready: Ready) -> None:
        """Sends what became ready, if anything did."""
        if ready.examples or ready.sampled_away or ready.unlabelled:
            self.output.append(ready)
            for name, number in (
                ("examples", len(ready.examples)),
                ("sampled_away", ready.sampled_away),
                ("unlabelled", ready.unlabelled),
            ):
                if number:
                    self.count(name, number)

    def bury(self, arrival: Arrival, reason: str, detail: str) -> None:
        """Sends a record to the dead letters."""
        self.output.append(DeadLetter(arrival, reason, detail))
        # A rule's failures are counted where it fails.
        if reason != "rule":
            self.count("orphans" if reason == "orphan" else reason)


class JoinLogic:
    """The rules. Stateless: the state of the one request at hand comes in and goes out with each step."""

    def __init__(self, job: JoinJob) -> None:
        self._labels = Labels(job.schema_)
        self._sampler = Sampler(job.seed, job.joiner.negatives)
        self._writer = ExampleWriter(job.schema_, self._labels)

    def on_features(
        self, state: State | None, request: Request, arrival: Arrival, watermark_ms: int, now_ms: int
    ) -> Step:
        """A request has come. `watermark_ms`: no event up to then is expected any more."""
        step = Step(state)
        if isinstance(state, Waiting | Closed):
            step.count("duplicates")
            return step
        if request.ts_ms + self._labels.longest_ms <= watermark_ms:
            step.bury(arrival, "late", f"all windows had closed {watermark_ms - request.ts_ms} ms after `ts`")
            return step
        assert arrival.value is not None
        waiting = Waiting(request.ts_ms, request.ts_ms, arrival.value)
        step.state = waiting
        step.timer_ms = self._labels.next_ms(waiting)
        impressions = len(distinct(request))
        step.count("impressions", impressions)
        if impressions < len(request.items):
            step.count("duplicates", len(request.items) - impressions)
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
        uses = self._labels.of(action.action)
        if uses is None:
            step.count("unused")
        elif isinstance(state, Waiting):
            request = parse_request(state.value)
            self._react(step, request, action, arrival, now_ms)
        elif isinstance(state, Closed):
            if any((action.item_id, label.id) in state.taken for label in uses.labels):
                step.count("duplicates")
            else:
                step.bury(arrival, "late", "every window of its request had closed")
        elif self._expiry(action) <= watermark_ms():
            step.bury(arrival, "late", "its window had closed, whatever its request")
        else:
            self._keep(step, state, action, arrival)
        return step

    def on_timer(self, state: State | None, timestamp_ms: int, now_ms: int) -> Step:
        """Event time has reached a timer of this request. One before its time leads to the next."""
        step = Step(state)
        if isinstance(state, Early):
            self._expire(step, state, timestamp_ms)
        elif isinstance(state, Waiting):
            self._close(step, state, timestamp_ms, now_ms)
        elif isinstance(state, Closed):
            if (forget_ms := self._forget_ms(state)) <= timestamp_ms:
                step.state = None
            else:
                step.timer_ms = forget_ms
        return step

    def _react(self, step: Step, request: Request, action: Action, arrival: Arrival, now_ms: int) -> None:
        state, uses = step.state, self._labels.of(action.action)
        assert isinstance(state, Waiting)
        position = distinct(request).get(action.item_id)
        if uses is None:
            step.count("unused")
        elif position is None:
            step.bury(arrival, "orphan", f"its request has no item {action.item_id[:80]!r}")
        elif abs(action.ts_ms - state.ts_ms) > uses.reach_ms:
            _refuse(step, state, position, uses.labels, action, arrival)
        else:
            reading = rules.read(uses.labels, request, request.items[position], action)
            if reading.failures:
                step.count("rule_errors", len(reading.failures))
            asked = (*reading.values, *reading.failures)
            if not asked:
                step.count("unused")
                return
            offers = {
                label: Taken(False, value, action.ts_ms, arrival.logged_ts_ms)
                for label, value in reading.values.items()
            }
            if not self._take(step, state, request, position, offers, now_ms):
                _refuse(step, state, position, asked, action, arrival, reading.failure)

    def _take(
        self,
        step: Step,
        state: Waiting,
        request: Request,
        position: int,
        offers: Mapping[Label, Taken],
        now_ms: int,
    ) -> bool:
        """Offers an action to the labels of an item; whether any takes it."""
        sample, lesson = self._sampler.of(request), Lesson(position)
        waits: dict[tuple[int, int], Taken] = {}
        for label, offer in offers.items():
            what = fate(label, state, state.taken.get((position, label.id)), offer)
            if what is Fate.LEAVES:
                was = label.otherwise if label.is_closed(state) and sample.is_kept(position) else None
                lesson.teach(label, offer, was)
            elif what is Fate.WAITS:
                waits[position, label.id] = offer
        if not lesson.taken and not waits:
            return False
        after = lesson.after(replace(state, taken={**state.taken, **waits}))
        # What it took the place of has come for nothing.
        if len(after.taken) < len(state.taken) + len(waits) + len(lesson.taken):
            step.count("duplicates")
        step.state = after
        if lesson.taken:
            example = self._write(step, lesson, request, state, sample, now_ms)
            step.give(Ready(request.request_id, (example,)))
        return True

    def _write(
        self, step: Step, lesson: Lesson, request: Request, state: Waiting, sample: Sample, now_ms: int
    ) -> Example:
        rate = sample.rate(lesson.position)
        example, left_out = self._writer.write(lesson, request, state, rate, now_ms)
        step.count(lesson.kind)
        if left_out:
            step.count("left_out", left_out)
        return example

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
        is_last = state.ts_ms + self._labels.longest_ms <= timestamp_ms
        moments = tuple(self._labels.moments(state, timestamp_ms))
        if not moments and not is_last:
            # The job was changed since the timer was set: its windows end later now.
            step.timer_ms = self._labels.next_ms(state)
            return
        request = parse_request(state.value)
        sample = self._sampler.of(request)
        examples: list[Example] = []
        for moment_ms in moments:
            state = replace(state, closed_through_ms=state.ts_ms + moment_ms)
            for lesson in self._lessons(state, request, sample):
                examples.append(self._write(step, lesson, request, state, sample, now_ms))
                state = lesson.after(state)
        step.state = state
        sampled_away, unlabelled = self._never_left(state, request, sample) if is_last else (0, 0)
        step.give(Ready(request.request_id, tuple(examples), sampled_away, unlabelled))
        if is_last:
            self._end(step, state, request)
        else:
            step.timer_ms = self._labels.next_ms(state)

    def _lessons(self, state: Waiting, request: Request, sample: Sample) -> Iterator[Lesson]:
        """What the moment that `state` has come to teaches of all items."""
        closing = self._labels.closing_at(state.closed_through_ms - state.ts_ms)
        for position in distinct(request).values() if closing else ():
            yield from at_close(closing, state, position, is_kept=sample.is_kept(position))

    def _never_left(self, state: Waiting, request: Request, sample: Sample) -> tuple[int, int]:
        """Items of which no example came: those not sampled, those of no known label."""
        left = {position for (position, _), taken in state.taken.items() if taken.has_left}
        rest = [position for position in distinct(request).values() if position not in left]
        sampled_away = sum(not sample.is_kept(position) for position in rest)
        is_silent = all(label.otherwise is None for label in self._labels.all)
        return sampled_away, len(rest) - sampled_away if is_silent else 0

    def _end(self, step: Step, state: Waiting, request: Request) -> None:
        """Of a request whose last label has ended, only what it has taken is remembered."""
        ids = [item.item_id for item in request.items]
        taken = frozenset(
            (ids[position], label) for (position, label), taken in state.taken.items() if taken.has_left
        )
        step.state = Closed(state.ts_ms, taken)
        step.timer_ms = self._forget_ms(step.state)

    def _expiry(self, action: Action) -> int:
        uses = self._labels.of(action.action)
        return action.ts_ms + (uses.reach_ms if uses else self._labels.longest_ms)

    def _forget_ms(self, state: Closed) -> int:
        # From then on, an action that happened within reach is late whatever is known of its request.
        return state.ts_ms + 2 * self._labels.longest_ms


def _refuse(
    step: Step,
    state: Waiting,
    position: int,
    labels: Iterable[Label],
    action: Action,
    arrival: Arrival,
    failure: str | None = None,
) -> None:
    """An action that none of the labels it asked has taken; `failure` of a rule, if one failed."""
    if any((position, label.id) in state.taken for label in labels):
        step.count("duplicates")
    elif failure is not None:
        step.bury(arrival, "rule", failure)
    elif action.ts_ms < state.ts_ms:
        step.bury(arrival, "orphan", f"{state.ts_ms - action.ts_ms} ms before its request")
    else:
        step.bury(arrival, "late", f"{action.ts_ms - state.ts_ms} ms after its request, after its window")


def _arrival(early: EarlyAction) -> Arrival:
    return Arrival(True, early.key, early.value, early.partition, early.offset, early.logged_ts_ms)


def _size_bytes(early: EarlyAction) -> int:
    return len(early.key or b"") + len(early.value)
