"""Labels and their time: which actions they take, until when, and what an action comes to in time.

Of a request at t, with every `distance` the time between action and request, either way (two clocks wrote
them): an action is in the window of a label when distance <= window, late when window < distance <= reach.
Event time alone decides that; so neither the order of arrival nor the pace of a backfill changes examples.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pipelines.join.expressions import Expression
from pipelines.join.state import Taken, Waiting, label_id
from pipelines.records import float32
from pipelines.schema import ExampleSchema, LabelSettings, Take


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A label as the join needs it. `reach_ms`: the window, and how long after it actions still count."""

    name: str
    id: int
    actions: tuple[str, ...]
    is_number: bool
    when: Expression | None
    value: Expression | None
    take: Take
    otherwise: float | None
    """What it is without an action; None: nothing is taught then."""
    window_ms: int
    reach_ms: int

    @property
    def rules(self) -> tuple[Expression, ...]:
        """Its expressions."""
        return tuple(rule for rule in (self.when, self.value) if rule is not None)

    def is_closed(self, state: Waiting) -> bool:
        """Whether its window has closed."""
        return state.closed_through_ms >= state.ts_ms + self.window_ms

    def known(self, state: Waiting, position: int) -> float:
        """Its value as far as it is settled; 0 while it is not."""
        taken = state.taken.get((position, self.id))
        if taken is not None and taken.has_left:
            return taken.value
        return (self.otherwise or 0.0) if self.is_closed(state) else 0.0


class Fate(Enum):
    """What becomes of an action at a label."""

    LEAVES = "it leaves in an example at once"
    WAITS = "it waits for the window to close"
    NOTHING = "it changes nothing"


def fate(label: Label, state: Waiting, taken: Taken | None, new: Taken) -> Fate:
    """What becomes of `new` at a label that has taken `taken` before, for the item it is about."""
    distance_ms = abs(new.action_ts_ms - state.ts_ms)
    is_over = state.closed_through_ms >= state.ts_ms + label.reach_ms
    if distance_ms > label.reach_ms or is_over or (taken is not None and taken.has_left):
        return Fate.NOTHING
    if label.take != "first":
        is_better = taken is None or _rank(label.take, new) > _rank(label.take, taken)
        return Fate.WAITS if is_better else Fate.NOTHING
    if distance_ms <= label.window_ms or label.is_closed(state):
        return Fate.LEAVES
    # It is late before its window has closed. Were it let out now, it would be another example than when it
    # comes after the negative.
    return Fate.WAITS if taken is None else Fate.NOTHING


def _rank(take: Take, taken: Taken) -> tuple[float, float]:
    return (taken.action_ts_ms, taken.value) if take == "last" else (taken.value, taken.action_ts_ms)


@dataclass(frozen=True, slots=True)
class ActionLabels:
    """The labels that use an action, and the longest of their reaches."""

    labels: tuple[Label, ...]
    reach_ms: int


class Labels:
    """All labels of a schema. `moments_ms`: the times since a request at which something ends, ascending.

    Raises ExpressionError for an expression that is wrong.
    """

    def __init__(self, schema: ExampleSchema) -> None:
        self.all: Final = tuple(_label(name, settings) for name, settings in schema.labels.items())
        self.moments_ms: Final = sorted(
            {ms for label in self.all for ms in (label.window_ms, label.reach_ms)}
        )
        self._closing = {ms: tuple(at for at in self.all if at.window_ms == ms) for ms in self.moments_ms}
        self.longest_ms: Final = self.moments_ms[-1]
        actions = {action for label in self.all for action in label.actions}
        self._by_action = {action: self._using(action) for action in actions}

    def of(self, action: str) -> ActionLabels | None:
        """The labels that use an action; None when none does."""
        return self._by_action.get(action)

    def closing_at(self, moment_ms: int) -> tuple[Label, ...]:
        """The labels whose window ends at a moment."""
        return self._closing[moment_ms]

    def moments(self, state: Waiting, through_ms: int) -> Iterable[int]:
        """The moments (since the request) that have not passed, up to `through_ms` of event time."""
        since_ms, until_ms = state.closed_through_ms - state.ts_ms, through_ms - state.ts_ms
        return (moment for moment in self.moments_ms if since_ms < moment <= until_ms)

    def next_ms(self, state: Waiting) -> int:
        """The event time of the next moment of a request that has one left."""
        since_ms = state.closed_through_ms - state.ts_ms
        return state.ts_ms + next(moment for moment in self.moments_ms if moment > since_ms)

    def _using(self, action: str) -> ActionLabels:
        labels = tuple(label for label in self.all if action in label.actions)
        return ActionLabels(labels, max(label.reach_ms for label in labels))


def _label(name: str, settings: LabelSettings) -> Label:
    is_number = settings.kind == "number"
    otherwise = settings.otherwise if is_number else 0.0
    window_ms = round(settings.window_s * 1000)
    late_ms = round(settings.late_s * 1000) if settings.take == "first" else 0
    return Label(
        name=name,
        id=label_id(name),
        actions=settings.actions,
        is_number=is_number,
        when=None if settings.when is None else Expression(settings.when, "boolean"),
        value=Expression(settings.value, "number") if is_number and settings.value is not None else None,
        take=settings.take if is_number else "first",
        otherwise=None if otherwise is None else float32(otherwise) + 0.0,
        window_ms=window_ms,
        reach_ms=window_ms + late_ms,
    )
