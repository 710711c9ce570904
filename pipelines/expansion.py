"""How many values lists, and crosses of lists, come to: bounded, for short events can take much memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Final

from pipelines.schema import ExampleSchema, Source

MAX_LIST_VALUES: Final = 1024
MAX_CROSS_VALUES: Final = 4096
"""Combinations that a cross of lists may have for one item."""
_NOTHING: Final = (None,)
"""What an empty or absent list counts as: one missing value."""


def list_values(
    schema: ExampleSchema,
    user: Mapping[str, Any],
    context: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
) -> int:
    """How many values all lists have, those of user and context once for each item."""
    sources = schema.sources
    shared = _lengths(sources["user"], user) | _lengths(sources["context"], context)
    own = [source.key for source in sources["item"] if source.many]
    return sum(shared.values()) * len(items) + sum(
        len(item.get(key) or _NOTHING) for key in own for item in items
    )


def expansions(
    schema: ExampleSchema,
    user: Mapping[str, Any],
    context: Mapping[str, Any],
    items: Iterable[Mapping[str, Any]],
) -> Iterator[dict[str, int]]:
    """For each of `items`: how many values each list has, and how many combinations each cross of lists."""
    sources = schema.sources
    shared = _lengths(sources["user"], user) | _lengths(sources["context"], context)
    for item in items:
        lengths = shared | _lengths(sources["item"], item)
        yield lengths | cross_sizes(schema, lengths)


def cross_sizes(schema: ExampleSchema, lengths: Mapping[str, Any]) -> dict[str, Any]:
    """Combinations of each cross of lists, from the lengths of these: numbers, or arrays of them."""
    return {name: prod(lengths[part] for part in parts) for name, parts in schema.crosses_of_lists.items()}


def _lengths(sources: Iterable[Source], values: Mapping[str, Any]) -> dict[str, int]:
    return {s.feature: len(values.get(s.key) or _NOTHING) for s in sources if s.many}
