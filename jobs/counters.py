"""Counters of many processes as totals that only grow, their rates, and when they last grew."""

import math
from collections import deque
from typing import Final

RATE_WINDOW_S: Final = 5.0
"""Rates are over so long: examples become visible with checkpoints, a second apart, not evenly."""

_Series = tuple[str, str]
"""Endpoint and name."""


class Counters:
    """Totals by name over all endpoints. A restarted process counts from 0 again: what it had is kept."""

    def __init__(self) -> None:
        self._totals: dict[_Series, float] = {}
        self._raw: dict[_Series, float] = {}
        self._told: set[_Series] = set()
        self._growing: set[str] = set()
        self.grew_s: dict[str, float] = {}
        """When each total was last seen to grow."""
        self._history: deque[tuple[float, dict[_Series, float]]] = deque()

    def add(self, endpoint: str, name: str, value: float | None) -> None:
        """`endpoint` says `name` is at `value` now; None: it did not say."""
        if value is None or math.isnan(value):
            return
        series = (endpoint, name)
        raw = self._raw.get(series)
        grown = value if raw is None or value < raw else value - raw
        self._totals[series] = self._totals.get(series, 0.0) + grown
        self._raw[series] = value
        self._told.add(series)
        # A first value says nothing about when it grew.
        if grown and raw is not None:
            self._growing.add(name)

    def tick(self, now_s: float) -> None:
        """All endpoints were asked; `now_s` never goes back."""
        self.grew_s |= dict.fromkeys(self._growing, now_s)
        self._history.append((now_s, {series: self._totals[series] for series in self._told}))
        self._told, self._growing = set(), set()
        while len(self._history) > 2 and self._history[1][0] <= now_s - RATE_WINDOW_S:
            self._history.popleft()

    def total(self, name: str) -> float | None:
        """Over all endpoints that ever told it; None when none did."""
        values = [total for series, total in self._totals.items() if series[1] == name]
        return sum(values) if values else None

    def rate(self, name: str) -> float | None:
        """Per second over the last seconds, of the endpoints that tell it now; None when that is unknown."""
        if not self._history:
            return None
        now_s, newest = self._history[-1]
        rates = []
        for series in newest:
            if series[1] == name:
                at, before = next((at, told[series]) for at, told in self._history if series in told)
                if at < now_s:
                    rates.append((newest[series] - before) / (now_s - at))
        return sum(rates) if rates else None
