"""Which rows a batch needs, each once, and where they go: the way between tables and the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.features import Column, Encoder, Lists, Slot, slots
from pipelines.schema import ExampleSchema
from ps.arrays import Float32, Int32, Int64
from ps.settings import TableSettings
from ps.table import unique


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a batch of n examples needs, and its layout for the network.

    Rows of all tables are stacked into one matrix, in the order of `ids`. Segment s · n + e is slot s of
    example e; it is the mean of the rows `flat[i]` with `segments[i]` = s · n + e.
    """

    examples: int
    ids: dict[str, Int64]
    """By table: distinct ids, in the order they first come."""
    flat: Int32
    """[m]: positions in the stacked matrix."""
    segments: Int32
    """[m], ascending, none of the slots · n left out."""
    numeric: Float32
    """[n, numbers]."""


class Layout:
    """Plans lookups for one schema, stacks rows and takes gradients apart again."""

    def __init__(self, schema: ExampleSchema, tables: Mapping[str, TableSettings]) -> None:
        """`tables`: those of `features.table_settings`."""
        self.encoder = Encoder(schema)
        self.slots: tuple[Slot, ...] = slots(schema)
        self._dims = {slot.table: tables[slot.table].dim for slot in self.slots}
        self.width = max(self._dims.values(), default=1)
        """Floats of a stacked row; narrower tables are filled up with zeros."""

    def plan(self, columns: Mapping[str, Column], examples: int) -> Lookup:
        """The lookup of a batch of columns."""
        of_slot = self.encoder.ids(columns)
        ids: dict[str, Int64] = {}
        flat: dict[str, Int32] = {}
        offset = 0
        for table in self._dims:
            names = [slot.name for slot in self.slots if slot.table == table]
            values = [_values(of_slot[name]) for name in names]
            ids[table], positions = unique(np.concatenate(values))
            ends = np.cumsum([len(each) for each in values])[:-1]
            flat |= dict(zip(names, np.split(positions + offset, ends), strict=True))
            offset += len(ids[table])
        return Lookup(
            examples,
            ids,
            _join([flat[slot.name] for slot in self.slots]),
            _join([_segments(of_slot[s.name], i * examples, examples) for i, s in enumerate(self.slots)]),
            self.encoder.numeric(columns, examples),
        )

    def stack(self, lookup: Lookup, rows: Mapping[str, Float32]) -> Float32:
        """The rows of all tables as one matrix `float32[u, width]`."""
        parts = [rows[table] for table in lookup.ids]
        if all(part.shape[1] == self.width for part in parts):
            return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)
        return np.concatenate([np.pad(part, ((0, 0), (0, self.width - part.shape[1]))) for part in parts])

    def unstack(self, lookup: Lookup, gradients: Float32) -> dict[str, tuple[Int64, Float32]]:
        """By table: ids and the gradients of their rows, from gradients `float32[u, width]`."""
        parts: dict[str, tuple[Int64, Float32]] = {}
        start = 0
        for table, ids in lookup.ids.items():
            end = start + len(ids)
            parts[table] = ids, np.ascontiguousarray(gradients[start:end, : self._dims[table]])
            start = end
        return parts


def _values(ids: Int64 | Lists) -> Int64:
    return ids.values if isinstance(ids, Lists) else ids


def _segments(ids: Int64 | Lists, first: int, examples: int) -> Int64:
    segments = np.arange(first, first + examples)
    return np.repeat(segments, ids.lengths) if isinstance(ids, Lists) else segments


def _join(parts: Sequence[Int32 | Int64]) -> Int32:
    return np.concatenate(parts).astype(np.int32, copy=False) if parts else np.empty(0, np.int32)
