"""The specification of a table's bounds (`ps/bounds.py`), in plain Python with exact counts.

The native filter differs from it only where two ids share a cell, with the probability that it states, and
where it overflows.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from ps.bounds import room_rows, slice_rows
from ps.reference_hash import GOLDEN, MASK, mix
from ps.settings import TableSettings

CLOCK_BATCHES: Final = 31
_MOST_AHEAD_MS: Final = 86_400_000


@dataclass(slots=True)
class Stamp:
    """What is known of a row beside its values."""

    last_update_ms: int
    count: int


@dataclass(slots=True)
class Counts:
    """See `_core.BoundsCounts`."""

    admitted: int = 0
    refused: int = 0
    full: int = 0
    expired: int = 0
    evicted: int = 0


class Sightings:
    """Counts by id in the current half of the window and in the one before."""

    def __init__(self, min_count: int, window_ms: int) -> None:
        self._min_count = min_count
        self._half_ms = max(1, window_ms // 2)
        self._halves: int | None = None
        self._now: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def advance_to(self, now_ms: int) -> None:
        """What is older than the window no longer counts."""
        halves = now_ms // self._half_ms
        ahead = 0 if self._halves is None else halves - self._halves
        if ahead == 1:
            self._before, self._now = self._now, {}
        elif ahead not in (0, -1):
            self._before, self._now = {}, {}
        if self._halves is None or ahead not in (0, -1):
            self._halves = halves

    def sight(self, row_id: int) -> bool:
        """One more sighting; whether it was the last one needed."""
        self._now[row_id] = self._now.get(row_id, 0) + 1
        if self._now[row_id] + self._before.get(row_id, 0) < self._min_count:
            return False
        self._now.pop(row_id)
        self._before.pop(row_id, None)
        return True


class ReferenceBounds:
    """Decides which ids of a batch get a row, and which rows go."""

    def __init__(
        self,
        settings: TableSettings,
        seed: int,
        stamp: Callable[[int], Stamp | None],
        remove: Callable[[int], bool],
    ) -> None:
        """`stamp` reads and `remove` removes rows of the table."""
        self._settings = settings
        self._seed = seed & MASK
        self._stamp = stamp
        self._remove = remove
        self._times: deque[int] = deque(maxlen=CLOCK_BATCHES)
        self._batches = 0
        self._roster: list[int] = []
        self._strays = 0
        self._hand = 0
        self._insertions = 0
        self._swept_ms = 0
        self._owed = 0
        self.counts = Counts()
        after_s = settings.expiry.after_s
        self._expire_after_ms = None if after_s is None else round(1000 * after_s)
        admission = settings.admission
        window_ms = round(1000 * admission.window_s)
        self._sightings = Sightings(admission.min_count, window_ms) if admission.min_count > 1 else None

    @property
    def now_ms(self) -> int | None:
        """See `EmbeddingTable.now_ms`."""
        return median_low(self._times) if len(self._times) == CLOCK_BATCHES else None

    def begin_batch(self, ids: list[int], ts_ms: int) -> set[int]:
        """The `ids` (distinct) without a row that get none; the others are enrolled and room is made."""
        self._times.append(ts_ms)
        self._batches += 1
        if self._sightings and self.now_ms is not None:
            self._sightings.advance_to(self.now_ms)
        most = self._settings.max_rows or 1 << 32
        free = max(0, most - self._rows())
        fresh, rejected = self._admitted(ids, free if self._settings.when_full == "refuse" else most)
        taken = self._make_room(free, most, len(fresh), set(ids))
        self.enroll(fresh[:taken])
        self.counts.admitted += taken
        self.counts.full += len(fresh) - taken
        return rejected | set(fresh[taken:])

    def end_batch(self) -> None:
        """Removes the rows among the next few that have expired."""
        if self._expire_after_ms is not None and self.now_ms is not None:
            self._owe_rows(self.now_ms, self._expire_after_ms)
            self.sweep()

    def start_pass(self) -> None:
        """All rows are to be looked at by the next calls of `sweep`, though they are not due yet."""
        self._hand, self._owed = 0, len(self._roster)

    def sweep(self) -> int:
        """Removes those of the next slice that have expired; how many rows are still to be looked at."""
        after_ms, now_ms = self._expire_after_ms, self.now_ms
        if after_ms is None or now_ms is None:
            return 0
        self._owed = min(self._owed, len(self._roster))
        window = self._window(min(self._owed, slice_rows(self._settings)))
        self._owed -= len(window)
        stamps = [self._stamp(row_id) for row_id in window]
        expired = [i for i, s in enumerate(stamps) if s is None or now_ms - s.last_update_ms > after_ms]
        self.counts.expired += self._pass(window, expired)
        self._restamp(window, now_ms, after_ms)
        return self._owed

    def enroll(self, ids: Iterable[int]) -> None:
        """Ids that get a row: each at a random place of the roster."""
        for row_id in ids:
            self._insertions += 1
            place = mix(self._insertions, GOLDEN) % (len(self._roster) + 1)
            self._roster.append(row_id)
            self._roster[place], self._roster[-1] = self._roster[-1], self._roster[place]

    def forget(self, rows: int) -> None:
        """After `rows` rows were removed by their owner."""
        self._strays += rows
        if self._strays > self._rows() + 1024:
            self._roster = list(dict.fromkeys(i for i in self._roster if self._stamp(i)))
            self._hand = self._strays = 0

    def _rows(self) -> int:
        return len(self._roster) - self._strays

    def _admitted(self, ids: list[int], room: int) -> tuple[list[int], set[int]]:
        fresh: list[int] = []
        rejected = set()
        for row_id in ids:
            if self._stamp(row_id) is not None:
                continue
            if len(fresh) == room:
                self.counts.full += 1
                rejected.add(row_id)
            elif self._admits(row_id):
                fresh.append(row_id)
            else:
                self.counts.refused += 1
                rejected.add(row_id)
        return fresh, rejected

    def _admits(self, row_id: int) -> bool:
        if self._sightings:
            return self._sightings.sight(row_id)
        probability = self._settings.admission.probability
        chance = mix(mix(row_id, self._seed), self._batches)
        return probability >= 1 or chance < int(probability * 2.0**64)

    def _make_room(self, free: int, most: int, wanted: int, spared: set[int]) -> int:
        if wanted <= free and self._rows() <= most:
            return wanted
        if self._settings.when_full == "refuse":
            return min(wanted, free)
        need = min(self._rows() + wanted - most, max(2 * wanted, 2048))
        return min(wanted, free + self._evict(need, spared))

    def _evict(self, need: int, spared: set[int]) -> int:
        window = self._window(max(64, 2 * need, min(8 * need, room_rows(self._settings))))
        evicted = self._pass(window, self._victims(window, need, spared))
        self.counts.evicted += evicted
        if self.now_ms is not None:
            self._restamp(window, self.now_ms, self._expire_after_ms or _MOST_AHEAD_MS)
        return evicted

    def _victims(self, window: list[int], need: int, spared: set[int]) -> list[int]:
        gone, ranks = [], []
        for i, row_id in enumerate(window):
            stamp = self._stamp(row_id)
            if stamp is None:
                gone.append(i)
            elif row_id not in spared:
                time_ms = (
                    stamp.last_update_ms if self.now_ms is None else min(stamp.last_update_ms, self.now_ms)
                )
                least = self._settings.when_full == "least_frequent"
                ranks.append((stamp.count if least else 0, time_ms, i))
        return gone + [i for _, _, i in sorted(ranks)[:need]]

    def _window(self, most: int) -> list[int]:
        n = len(self._roster)
        return [self._roster[(self._hand + i) % n] for i in range(min(most, n))]

    def _pass(self, window: list[int], dropped: list[int]) -> int:
        """Move the hand over the window and remove the rows of those dropped; how many there were.

        Those kept come before the hand, the last ids of the roster take the places that are left.
        """
        removed = sum(self._remove(window[i]) for i in dropped)
        self._strays -= len(dropped) - removed
        gone = set(dropped)
        kept = [row_id for i, row_id in enumerate(window) if i not in gone]
        places = [(self._hand + i) % len(self._roster) for i in range(len(window))]
        for place, row_id in zip(places, kept, strict=False):
            self._roster[place] = row_id
        for place in sorted(places[len(kept) :], reverse=True):
            self._roster[place] = self._roster[-1]
            self._roster.pop()
        self._hand = (self._hand + len(kept)) % len(self._roster) if self._roster else 0
        return removed

    def _restamp(self, window: list[int], now_ms: int, ahead_ms: int) -> None:
        for row_id in window:
            stamp = self._stamp(row_id)
            if stamp is not None and stamp.last_update_ms - now_ms > ahead_ms:
                stamp.last_update_ms = now_ms

    def _owe_rows(self, now_ms: int, after_ms: int) -> None:
        if now_ms < self._swept_ms or self._batches == CLOCK_BATCHES:
            self._swept_ms = now_ms
        passes = min(1.0, 8 * (float(now_ms - self._swept_ms) / float(after_ms)))
        due = int(passes * len(self._roster))
        if due > 0:
            self._swept_ms = now_ms
        self._owed = min(len(self._roster), self._owed + due)
