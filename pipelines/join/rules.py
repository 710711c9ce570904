"""What an action makes of each label."""

from collections.abc import Iterable
from typing import NamedTuple

from pipelines.join.expressions import ExpressionError, variables
from pipelines.join.labels import Label
from pipelines.records import FLOAT32_MAX, Action, Item, Request, float32


class Reading(NamedTuple):
    """`values` (32-bit floats) of the labels whose rules accept the action, `failures` of those that fail."""

    values: dict[Label, float]
    failures: dict[Label, str]

    @property
    def failure(self) -> str | None:
        """The first failure, None when nothing failed."""
        return next((f"label `{label.name}`: {why}" for label, why in self.failures.items()), None)


def read(labels: Iterable[Label], request: Request, item: Item, action: Action) -> Reading:
    """What `action` on `item` makes of each label."""
    reading = Reading({}, {})
    names = {name for label in labels for rule in label.rules for name in rule.names}
    seen = variables(names, request, item, action)
    for label in labels:
        try:
            if label.when is None or label.when.evaluate(seen):
                number = action.value if label.value is None else label.value.evaluate(seen)
                reading.values[label] = _float32(number) if label.is_number else 1.0
        except ExpressionError as error:
            reading.failures[label] = str(error)
    return reading


def _float32(number: float) -> float:
    if not -FLOAT32_MAX <= number <= FLOAT32_MAX:
        raise ExpressionError(f"`value` is {number}: examples hold 32-bit floats")
    # -0 and 0 are one number, and must be the same bytes.
    return float32(number) + 0.0
