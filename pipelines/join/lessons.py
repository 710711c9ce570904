"""What an example teaches, and the examples that are written from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipelines.join.labels import Label, Labels
from pipelines.join.state import Taken, Waiting
from pipelines.records import Example, Request, salvage
from pipelines.schema import ExampleSchema


@dataclass(slots=True)
class Lesson:
    """What one example teaches of one item: labels settled by an action, and labels that none came for."""

    position: int
    taken: dict[Label, Taken] = field(default_factory=dict)
    otherwise: list[Label] = field(default_factory=list)
    was: dict[Label, float] = field(default_factory=dict)
    """What an earlier example taught of labels in `taken`."""

    def teach(self, label: Label, taken: Taken, was: float | None = None) -> None:
        """Settles a label by an action; `was`: what an earlier example taught, None if none did."""
        self.taken[label] = taken._replace(has_left=True)
        if was is not None:
            self.was[label] = was

    @property
    def values(self) -> dict[str, float]:
        """The labels that are taught, by name."""
        values = {label.name: taken.value for label, taken in self.taken.items()}
        return values | {label.name: label.otherwise or 0.0 for label in self.otherwise}

    @property
    def times_ms(self) -> tuple[int, int]:
        """Of the newest action behind it: event time and Kafka timestamp; 0 without one."""
        times = ((taken.action_ts_ms, taken.logged_ts_ms) for taken in self.taken.values())
        return max(times, default=(0, 0))

    @property
    def kind(self) -> str:
        """The name by which such examples are counted."""
        return "corrections" if self.was else "positives" if self.taken else "negatives"

    def after(self, state: Waiting) -> Waiting:
        """The state once the example has left."""
        if not self.taken:
            return state
        left = {(self.position, label.id): taken for label, taken in self.taken.items()}
        return replace(state, taken={**state.taken, **left})


def at_close(closing: Iterable[Label], state: Waiting, position: int, *, is_kept: bool) -> Iterator[Lesson]:
    """What the close of windows teaches of an item.

    First what the windows brought, then, apart from it, what is late and would have come after.
    """
    window, late = Lesson(position), Lesson(position)
    for label in closing:
        taken = state.taken.get((position, label.id))
        if taken is None or not taken.has_left:
            _close(label, taken, state, window, late, is_kept=is_kept)
    yield from (lesson for lesson in (window, late) if lesson.taken or lesson.otherwise)


def _close(
    label: Label, taken: Taken | None, state: Waiting, window: Lesson, late: Lesson, *, is_kept: bool
) -> None:
    if taken is not None and abs(taken.action_ts_ms - state.ts_ms) <= label.window_ms:
        window.teach(label, taken)
        return
    was = label.otherwise if is_kept else None
    if was is not None:
        window.otherwise.append(label)
    if taken is not None:
        late.teach(label, taken, was)


class ExampleWriter:
    """Writes the examples of one job."""

    def __init__(self, schema: ExampleSchema, labels: Labels) -> None:
        self._schema = schema
        self._labels = labels.all
        self._zeros = {label.name: 0.0 for label in labels.all}

    def write(
        self, lesson: Lesson, request: Request, state: Waiting, sampling_rate: float, now_ms: int
    ) -> tuple[Example, int]:
        """The example of a lesson, and how many values are left out of it; `state`: what else is known."""
        item, values = request.items[lesson.position], lesson.values
        action_ts_ms, action_logged_ts_ms = lesson.times_ms
        known = {label.name: label.known(state, lesson.position) for label in self._labels}
        features, left_out = salvage(self._schema, request.user, request.context, item.values)
        example = Example(
            request_id=request.request_id,
            item_id=item.item_id,
            ts_ms=request.ts_ms,
            joined_ts_ms=now_ms,
            action_ts_ms=action_ts_ms,
            action_logged_ts_ms=action_logged_ts_ms,
            sampling_rate=sampling_rate,
            features=features,
            labels=known | values,
            masks=self._zeros | dict.fromkeys(values, 1.0),
            scores=item.scores,
            was={label.name: value for label, value in lesson.was.items()},
            otherwise={label.name: 1.0 for label in lesson.otherwise if label.is_number},
        )
        return example, left_out
