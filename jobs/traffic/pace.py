"""When the next visits are due: by the wall clock, by a faster event clock, or as soon as the loop closes.

Visits come in blocks that are asked for at the same time and logged in order. A block is small enough that
its answers come from nearly the same parameters, and large enough that serving can score them together.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from jobs.traffic.visits import Visit

BLOCK = 48
"""Visits asked for at the same time, at most."""


class Clock(Protocol):
    """Says how far event time has come."""

    def now_ms(self) -> float:
        """Event time, ms; infinite when nothing has to be waited for."""


class WallClock:
    """Event time is now: live traffic."""

    def now_ms(self) -> float:
        """Milliseconds since 1970."""
        return time.time() * 1000


class FastClock:
    """Event time runs `speed` times as fast as the wall clock, from `start_ms` on."""

    def __init__(self, start_ms: int, speed: float, wall: Callable[[], float] = time.monotonic) -> None:
        self._start_ms, self._speed, self._wall = start_ms, speed, wall
        self._start_s = wall()

    def now_ms(self) -> float:
        """The start and `speed` times what has passed since."""
        return self._start_ms + self._speed * 1000 * (self._wall() - self._start_s)


class NoClock:
    """Everything is due: the loop itself sets the pace."""

    def now_ms(self) -> float:
        """Infinite."""
        return math.inf


class Blocks:
    """Takes visits off an iterator as they become due."""

    def __init__(self, visits: Iterator[Visit], clock: Clock) -> None:
        self._visits, self._clock = visits, clock
        self._next = next(visits, None)

    @property
    def ended(self) -> bool:
        """No visit is left."""
        return self._next is None

    @property
    def reached_ms(self) -> float:
        """Event time up to which everything may be logged: now, but not beyond the next visit."""
        now_ms = self._clock.now_ms()
        return now_ms if self._next is None else min(now_ms, self._next.ts)

    @property
    def lag_s(self) -> float:
        """How long the next visit has been due, in seconds of event time; 0 without a clock."""
        now_ms = self._clock.now_ms()
        return 0.0 if self._next is None or math.isinf(now_ms) else max(0.0, (now_ms - self._next.ts) / 1000)

    def take(self, impressions: float) -> list[Visit]:
        """The visits that are due, at most `BLOCK`, ending with the one that completes `impressions` more
        (≥ 1)."""
        block: list[Visit] = []
        now_ms = self._clock.now_ms()
        while self._next is not None and self._next.ts <= now_ms and len(block) < BLOCK and impressions > 0:
            block.append(self._next)
            impressions -= len(self._next.items)
            self._next = next(self._visits, None)
        return block
