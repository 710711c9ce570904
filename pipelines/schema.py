"""The `schema` block of a job file: which features an example carries and which actions label it.

It is the contract between the joiner, which fills examples, the model, which reads them, and serving, which
takes the same features from a request. What an event may hold is checked in one place (`pipelines.records`),
for joiner and serving alike; examples and requests become the model's columns in two (`model.parse`,
`model.requests`), which tests hold to the same result.
"""

from functools import cached_property
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Origin = Literal["user", "context", "item"]
FeatureType = Literal["int", "string", "float"]
LabelKind = Literal["binary", "number"]
Take = Literal["first", "last", "max"]

SOURCE_PATTERN: Final = r"^(user|context|item)\.[^.\s]+$"

RESERVED_NAMES = frozenset(
    {
        *("request_id", "item_id", "ts", "joined_ts", "action_ts", "action_logged_ts", "sampling_rate"),
        *("pool_probability", "pool_for"),
    }
)
"""Features of an example that Freshet writes itself (`docs/formats.md`)."""

RESERVED_PREFIXES: Final = ("label:", "mask:", "score:", "was:", "otherwise:")
"""How the names of those begin that it writes for each label or score."""


class Block(BaseModel):
    """A block of the job file: unknown keys are errors, values never change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


class FeatureSettings(Block):
    """One feature: where it stands in the raw event, its type, and how the model takes it in.

    `int` and `string` values are categorical: each distinct value is a row of `table`. `float` values are
    numeric: they enter the dense part of the model as they are, or, with `boundaries`, become the number of
    their bucket and are then categorical.
    """

    source: str = Field(alias="from", pattern=SOURCE_PATTERN)
    """Where the value stands in a `features` event: `user.KEY`, `context.KEY` or `item.KEY`."""
    type: FeatureType = "int"
    many: bool = False
    """The value is a list; its rows are averaged."""
    boundaries: tuple[float, ...] = ()
    """Ascending bucket boundaries of a `float` feature."""
    table: str | None = None
    """The table that holds its rows; None: a table of its own, named as the feature."""

    @property
    def is_categorical(self) -> bool:
        """Whether its values are rows of a table."""
        return self.type != "float" or bool(self.boundaries)


class CrossSettings(Block):
    """A categorical feature made of every combination of the values of other categorical features."""

    of: tuple[str, ...] = Field(min_length=2)
    table: str | None = None


class LabelSettings(Block):
    """A label: which actions make it, within which time, and what it is worth."""

    action: str | tuple[str, ...]
    """Name of the action, or several names: any of them counts."""
    kind: LabelKind = "binary"
    """`binary`: 1 when an action counts, else 0. `number`: play time, rating, price."""
    when: str | None = None
    """A CEL expression: an action for which it is false does not count (`value >= 0.7 * item.length`)."""
    value: str | None = None
    """A CEL expression: what a `number` becomes; None: the action's `value`."""
    take: Take = "first"
    """Of several actions, which one makes a `number`. `first` leaves at once, others when the window ends."""
    otherwise: float | None = Field(default=0.0, allow_inf_nan=False)
    """What a `number` is when nothing happens; null: then nothing is learnt."""
    window_s: float = Field(default=600.0, gt=0)
    late_s: float = Field(default=0.0, ge=0)
    """An action that comes so much after the window still counts, as a correction."""

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the actions."""
        return (self.action,) if isinstance(self.action, str) else self.action


class Source(NamedTuple):
    """Where the value of a feature stands among the values of its origin, and what it has to be."""

    feature: str
    key: str
    type: FeatureType
    many: bool


class ExampleSchema(Block):
    """The features and labels of every example."""

    features: dict[str, FeatureSettings]
    crosses: dict[str, CrossSettings] = Field(default_factory=dict)
    labels: dict[str, LabelSettings]

    def by_name(self) -> "ExampleSchema":
        """The same in the order of names, in which a model's tensors lie: that of the file means nothing."""
        return ExampleSchema(
            features=dict(sorted(self.features.items())),
            crosses=dict(sorted(self.crosses.items())),
            labels=dict(sorted(self.labels.items())),
        )

    @cached_property
    def sources(self) -> dict[Origin, tuple[Source, ...]]:
        """The features of each origin: what a reader of raw events loops over."""
        by_origin: dict[Origin, list[Source]] = {"user": [], "context": [], "item": []}
        for name, feature in self.features.items():
            origin, key = feature.source.split(".", 1)
            by_origin[origin].append(Source(name, key, feature.type, feature.many))  # type: ignore[index]
        return {origin: tuple(sources) for origin, sources in by_origin.items()}

    @cached_property
    def crosses_of_lists(self) -> dict[str, tuple[str, ...]]:
        """The crosses that any many-valued feature is part of, and these features."""
        lists = {name for name, feature in self.features.items() if feature.many}
        of_lists = {n: tuple(part for part in c.of if part in lists) for n, c in self.crosses.items()}
        return {name: parts for name, parts in of_lists.items() if parts}
