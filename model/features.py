"""Raw features to ids of table rows and to numbers, the same way for examples and for requests.

A *column* holds one feature of n examples: `int64[n]` for a categorical feature, `float32[n]` for a number, a
`Lists` of either for a many-valued one. Both readers, `model.parse` and `model.requests`, end in columns;
everything after that is shared, so training and serving cannot differ. The ids:

- integers as they are; strings by a 64-bit fingerprint (BLAKE2b);
- floats with `boundaries` by the number of their bucket, as `bisect_right` counts;
- crosses by a 64-bit mix of the cross's name and the ids it is made of. Crosses of many-valued features have
  every combination of the values.

**A missing value is the id `MISSING`**, -2^63, in every table: it has a row of its own, so the model learns
what absence means. An empty string and an empty list are missing values, too. A missing number is 0.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.schema import ExampleSchema, FeatureSettings
from ps.arrays import Float32, Int64
from ps.settings import TableSettings

MISSING: Final = -(1 << 63)
"""The id of a value that is not there. No integer of an event can be it and mean something else."""


_GOLDEN: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


class Lists(NamedTuple):
    """A many-valued column: all values, one example after another, and how many each example has."""

    values: npt.NDArray[Any]
    lengths: Int64


Column = Int64 | Float32 | Lists


class Slot(NamedTuple):
    """One categorical feature or cross, and the table that holds its rows."""

    name: str
    table: str


def slots(schema: ExampleSchema) -> tuple[Slot, ...]:
    """The categorical features in the order of the schema, then the crosses."""
    features = [Slot(n, f.table or n) for n, f in schema.features.items() if f.is_categorical]
    crosses = [Slot(name, cross.table or name) for name, cross in schema.crosses.items()]
    return (*features, *crosses)


def tables(schema: ExampleSchema) -> dict[str, tuple[str, ...]]:
    """Every table and the features and crosses whose rows it holds."""
    by_table: dict[str, list[str]] = {}
    for slot in slots(schema):
        by_table.setdefault(slot.table, []).append(slot.name)
    return {table: tuple(names) for table, names in by_table.items()}


def table_settings(
    schema: ExampleSchema, tables_: Mapping[str, TableSettings], default_table: TableSettings
) -> dict[str, TableSettings]:
    """The tables as shards and replicas create them: a row is the linear weight, then the embedding."""
    wanted = {table: tables_.get(table, default_table) for table in tables(schema)}
    return {name: table.model_copy(update={"dim": table.dim + 1}) for name, table in wanted.items()}


@lru_cache(maxsize=1 << 18)
def fingerprint(text: bytes) -> int:
    """The id of a string; the empty one is a missing value."""
    if not text:
        return MISSING
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)


def repeat(column: Any, counts: Int64) -> Any:
    """Each example's value or list as often as `counts`, `int64[n]`, says; 0 leaves it out."""
    if not isinstance(column, Lists):
        return np.repeat(column, counts)
    owners = np.repeat(np.arange(len(counts)), counts)
    lengths = column.lengths[owners]
    starts = (np.cumsum(column.lengths) - column.lengths)[owners]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Lists(column.values[np.repeat(starts, lengths) + within], lengths)


class Encoder:
    """Columns to the ids of every slot, and to the numbers of the dense part."""

    def __init__(self, schema: ExampleSchema) -> None:
        """Raises ValueError when a cross is made of something that is not a categorical feature."""
        self._categorical = {n: f for n, f in schema.features.items() if f.is_categorical}
        self._numeric = [n for n, f in schema.features.items() if not f.is_categorical]
        self._crosses = {n: (fingerprint(n.encode()), c.of) for n, c in schema.crosses.items()}
        for name, (_, of) in self._crosses.items():
            for part in of:
                if part not in self._categorical:
                    raise ValueError(f"cross {name!r} is made of {part!r}, which is no categorical feature")

    @property
    def numbers(self) -> int:
        """How many numbers each example has."""
        return len(self._numeric)

    def ids(self, columns: Mapping[str, Column]) -> dict[str, Int64 | Lists]:
        """The ids of every slot by name, in the order of `slots`: one per example, or a list, never empty."""
        ids = {n: _categorical_ids(f, columns[n]) for n, f in self._categorical.items()}
        for name, (salt, of) in self._crosses.items():
            ids[name] = _cross(salt, [ids[part] for part in of])
        return ids

    def numeric(self, columns: Mapping[str, Column], examples: int) -> Float32:
        """The numbers `float32[examples, numbers]`: the mean of a list, 0 where there is none."""
        out = np.zeros((examples, len(self._numeric)), np.float32)
        for i, name in enumerate(self._numeric):
            column = columns[name]
            values = _means(column) if isinstance(column, Lists) else column
            out[:, i] = np.nan_to_num(values)
        return out


def _categorical_ids(feature: FeatureSettings, column: Column) -> Int64 | Lists:
    if isinstance(column, Lists):
        column = _fill(column)
        return column._replace(values=_bucketed(feature, column.values))
    return _bucketed(feature, column)


def _bucketed(feature: FeatureSettings, values: npt.NDArray[Any]) -> Int64:
    if not feature.boundaries:
        return values
    buckets = np.searchsorted(np.array(feature.boundaries, np.float32), values, side="right")
    return np.where(np.isnan(values), MISSING, buckets)


def _fill(lists: Lists) -> Lists:
    """Every empty list gets one missing value."""
    empty = np.flatnonzero(lists.lengths == 0)
    if not len(empty):
        return lists
    missing = np.nan if lists.values.dtype == np.float32 else MISSING
    places = (np.cumsum(lists.lengths) - lists.lengths)[empty]
    return Lists(np.insert(lists.values, places, missing), np.maximum(lists.lengths, 1))


def _means(lists: Lists) -> Float32:
    owners = np.repeat(np.arange(len(lists.lengths)), lists.lengths)
    sums = np.bincount(owners, lists.values, len(lists.lengths))
    return np.asarray(sums / np.maximum(lists.lengths, 1), np.float32)


def _cross(salt: int, parts: Sequence[Int64 | Lists]) -> Int64 | Lists:
    """The mix of `salt` and one id of each part, for every combination."""
    single = [part for part in parts if not isinstance(part, Lists)]
    if len(single) == len(parts):
        return reduce(_mix, single, np.full(len(single[0]), salt))
    lists = [p if isinstance(p, Lists) else Lists(p, np.ones(len(p), np.int64)) for p in parts]
    first = lists[0]._replace(values=_mix(np.full(len(lists[0].values), salt), lists[0].values))
    return reduce(_combine, lists[1:], first)


def _combine(left: Lists, right: Lists) -> Lists:
    """Every value of an example's left list with every one of its right list; lists are not empty."""
    lengths = left.lengths * right.lengths
    owners = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    of_left, of_right = np.divmod(place, right.lengths[owners])
    of_left += (np.cumsum(left.lengths) - left.lengths)[owners]
    of_right += (np.cumsum(right.lengths) - right.lengths)[owners]
    return Lists(_mix(left.values[of_left], right.values[of_right]), lengths)


def _mix(state: Int64, ids: Int64) -> Int64:
    """An ordered combination in which all bits of both count. Part of the format: it names rows."""
    return _scramble(_scramble(ids.view(np.uint64) + _GOLDEN) ^ state.view(np.uint64)).view(np.int64)


def _scramble(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64, one to one."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))
