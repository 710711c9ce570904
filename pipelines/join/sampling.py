"""Which negatives are kept: by hash, so that every run of a job keeps the same ones.

Each item of a request has a uniform number u from its ids and a rate r; p = u / r is its priority. It is kept
when p < 1, and, with a cap of C items per request, when p is also below the C-th smallest priority of the
others. Given the others, that happens with probability r x min(1, that priority), so weights of 1 over it
are unbiased (bottom-k sampling; Duffield, Lund, Thorup: Priority sampling, J. ACM 54(6), 2007). Labels play
no part: a positive has the probability that it would have had as a negative.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from pipelines.records import Request, float32
from pipelines.settings import NegativeSettings


def distinct(request: Request) -> dict[str, int]:
    """The item ids with their positions; of items that repeat an id, the first."""
    positions: dict[str, int] = {}
    for position, item in enumerate(request.items):
        positions.setdefault(item.item_id, position)
    return positions


def field_text(value: Any) -> str | None:
    """A raw value as `negatives.by` spells it: strings, integers in decimal, true and false; else None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) else None


class _Field(NamedTuple):
    """A field that decides on rates, and the rate of each of its values."""

    origin: str
    key: str
    rates: Mapping[str | None, float]

    @classmethod
    def of(cls, source: str, rates: Mapping[str, float]) -> "_Field":
        origin, key = source.split(".", 1)
        return cls(origin, key, dict[str | None, float](rates.items()))


class Sampler:
    """The sampling of one job."""

    def __init__(self, seed: int, settings: NegativeSettings) -> None:
        self._seed: Final = seed
        self._rate: Final = settings.rate
        self._fields: Final = tuple(_Field.of(source, rates) for source, rates in settings.by.items())
        self.cap: Final = settings.max_per_request

    def of(self, request: Request) -> "Sample":
        """The sample of one request."""
        return Sample(self, request)

    def rate(self, request: Request, position: int) -> float:
        """The rate by the first field whose value is listed."""
        origins = {"user": request.user, "context": request.context, "item": request.items[position].values}
        for origin, key, rates in self._fields:
            rate = rates.get(field_text(origins[origin].get(key)))
            if rate is not None:
                return rate
        return self._rate

    def uniform(self, request_id: str, item_id: str) -> float:
        """From [0, 1), the same in every run with the same seed."""
        digest = blake2b(f"{self._seed}\0{request_id}\0{item_id}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "little") >> 11) * 2.0**-53

    def priority(self, request: Request, position: int) -> float:
        """u / r."""
        uniform = self.uniform(request.request_id, request.items[position].item_id)
        return uniform / self.rate(request, position)


@dataclass(slots=True)
class Sample:
    """Which items of one request are kept, by position, and how likely. Worked out when asked for."""

    _sampler: Sampler
    _request: Request
    _priorities: Mapping[int, float] = field(default_factory=dict)

    def rate(self, position: int) -> float:
        """The probability (a 32-bit float) with which the item is kept, given the others."""
        return float32(self._sampler.rate(self._request, position) * min(1.0, self._bound(position)))

    def is_kept(self, position: int) -> bool:
        """Whether the item's negative is kept."""
        if self._sampler.cap is None and self._sampler.rate(self._request, position) >= 1.0:
            return True
        return self._sampler.priority(self._request, position) < min(1.0, self._bound(position))

    def _bound(self, position: int) -> float:
        """The C-th smallest priority of the other items; infinite when there are fewer, or no cap."""
        cap = self._sampler.cap
        if cap is None:
            return math.inf
        if not self._priorities:
            positions = distinct(self._request).values()
            self._priorities = {at: self._sampler.priority(self._request, at) for at in positions}
        if len(self._priorities) <= cap:
            return math.inf
        return nsmallest(cap, (p for at, p in self._priorities.items() if at != position))[-1]
