"""What an action makes of each label."""

from collections.abc import Iterable
from typing import NamedTuple

from pipelines.join.labels import Label
from pipelines.records import Action, Item, Request, float32


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
    # -0 and 0 are one number, and must be the same bytes.
    number = float32(action.value) + 0.0
    return Reading({label: number if label.is_number else 1.0 for label in labels}, {})
