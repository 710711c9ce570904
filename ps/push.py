"""What a trainer sends after a step: gradients, and which examples they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ps.arrays import Bools, Float32, Int64
from ps.settings import OptimizerSettings, TableSettings

MAX_GRADIENT: Final = 1e12
"""A larger one is bad: its square, also after adding up repeats, must stay a finite float32."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Whose bad gradients are let through, for the shards to skip or clip."""

    tables: frozenset[str] = frozenset()
    dense: bool = False

    @staticmethod
    def of(tables: Mapping[str, TableSettings], dense: OptimizerSettings) -> "Tolerance":
        """As the settings of the tables and of the dense tensors say."""
        tolerant = {name for name, table in tables.items() if table.optimizer.bad_gradients != "refuse"}
        return Tolerance(frozenset(tolerant), dense.bad_gradients != "refuse")


STRICT: Final = Tolerance()
"""Every bad gradient is refused."""


class PushRefused(Exception):  # noqa: N818 (an answer, not a fault)
    """A push that does not go on at a shard's marks: read the marks, rewind to the lowest.

    The shard that refused has changed nothing. Others may have applied it; they ignore it the second time.
    """


class TooLargeError(ValueError):
    """A gradient that is NaN, infinite or too large, or more than a frame holds: fewer examples may do.

    `ps.client.Shards` raises it before any shard is asked.
    """


class Span(NamedTuple):
    """A half open range of positions in a partition of `examples`; `first` is the `next` of the last one."""

    partition: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Push:
    """One batch's gradients, summed per id, and the spans of `examples` they come from, one per partition."""

    spans: tuple[Span, ...]
    tables: Mapping[str, tuple[Int64, Float32]] = field(default_factory=dict)
    """By table: ids `int64[n]`, gradients `float32[n, dim]`."""
    dense: Mapping[str, Float32] = field(default_factory=dict)
    """By tensor: a gradient of its shape."""
    event_ts_ms: int = 0
    """Event time of the newest example: the update time of the rows."""
    samples: Sequence[tuple[int, int, int]] = ()
    """(partition, offset, action_ts_ms) of some of the examples: freshness is measured on them."""

    @property
    def array_bytes(self) -> int:
        """Of all ids and gradients."""
        tables = sum(ids.nbytes + gradients.nbytes for ids, gradients in self.tables.values())
        return tables + sum(gradient.nbytes for gradient in self.dense.values())

    def check(self, tolerance: Tolerance = STRICT) -> None:
        """Raise ValueError when the spans make no sense; TooLargeError for a bad gradient not tolerated."""
        _check_spans(self.spans)
        for name, (_, gradients) in self.tables.items():
            if name not in tolerance.tables:
                _check_gradients(f"table {name!r}", gradients)
        for name, gradient in self.dense.items():
            if not tolerance.dense:
                _check_gradients(f"dense tensor {name!r}", gradient)


def _check_spans(spans: tuple[Span, ...]) -> None:
    if not spans:
        raise ValueError("a push needs a span: without one it could be applied twice")
    if len({span.partition for span in spans}) < len(spans):
        raise ValueError(f"a push has one span per partition: {show_spans(spans)}")
    for span in spans:
        if not 0 <= span.first < span.next < 1 << 63 or not 0 <= span.partition < 1 << 31:
            raise ValueError(f"a span is [first, next) with 0 <= first < next: {show_spans((span,))}")


def is_sane(gradients: Float32) -> bool:
    """Whether none of `gradients` is NaN, infinite or beyond `MAX_GRADIENT`."""
    # Comparisons with NaN are false; min and max need no temporary array.
    within = not gradients.size or (gradients.max() <= MAX_GRADIENT and gradients.min() >= -MAX_GRADIENT)
    return bool(within)


def sane_rows(gradients: Float32) -> Bools:
    """Which rows of `float32[n, dim]` are sane: `bool[n]`."""
    sane: Bools = (np.abs(gradients) <= MAX_GRADIENT).all(axis=1)
    return sane


def _check_gradients(what: str, gradients: Float32) -> None:
    if not is_sane(gradients):
        raise TooLargeError(f"{what}: a gradient is NaN, infinite or beyond {MAX_GRADIENT:g}")


def show_spans(spans: Sequence[Span]) -> str:
    """The spans in words."""
    return ", ".join(f"partition {s.partition} [{s.first}, {s.next})" for s in spans)
