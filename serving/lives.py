"""Rows that a shard has lost: those of a life older than the newest all of whose rows have come.

A shard that starts again, from its last snapshot or from nothing, sends all rows that it has. What it had
beside them, and does not get again, it can't name; but every row in the store says of which life it is.
"""

import logging
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ps.arrays import Bools, Int64
from ps.router import shard_of
from serving.progress import ShardProgress
from serving.store import Store
from serving.tables import Tables

Complete = Mapping[int, tuple[int, int]]
"""By shard: its newest life all of whose rows have come, and of how many shards it was one then."""

_ROWS_PER_STEP: Final = 2048
_log: Final = logging.getLogger(__name__)


def complete_lives(progress: Mapping[int, ShardProgress]) -> Complete:
    """The shards that have come to a life all of whose rows are here."""
    return {shard: (p.complete, p.shards) for shard, p in progress.items() if p.complete}


def lost(ids: Int64, lives: npt.NDArray[np.uint64], complete: Complete) -> Bools:
    """Which of the rows of `ids` `int64[n]`, written in `lives` `uint64[n]`, their shards no longer have."""
    found = np.zeros(len(ids), np.bool_)
    for shards in {shards for _, shards in complete.values()}:
        oldest = np.zeros(shards, np.uint64)
        for shard, (life, of) in complete.items():
            if of == shards:
                oldest[shard] = life
        found |= lives < oldest[shard_of(ids, shards)]
    return found


class Sweep:
    """Drops lost rows from a store and the tables in memory, a few at a time. Not thread-safe."""

    def __init__(self, store: Store, tables: Tables, done: Complete) -> None:
        """`done`: lives for which nothing is left to drop."""
        self._store = store
        self._tables = tables
        self._done = self._target = done
        self._place: bytes | None = None
        """Where to look next; None: nowhere."""
        self._dropped = 0

    def step(self, complete: Complete) -> bool:
        """Look at the next rows; False: there is none left to look at. Raises StoreError."""
        if self._place is None:
            if complete == self._done:
                return False
            self._target, self._place, self._dropped = complete, b"", 0
        found = next(self._store.rows(self._place, _ROWS_PER_STEP), None)
        if found is None:
            self._end()
            return True
        ids = found.ids[lost(found.ids, found.lives, complete)]
        if len(ids):
            self._store.remove(found.table, ids)
            self._tables.remove(found.table, ids)
            self._dropped += len(ids)
        self._place = found.end
        return True

    def _end(self) -> None:
        """All rows were looked at, for the lives that were complete when that began."""
        self._done, self._place = self._target, None
        if self._dropped:
            _log.info("%d rows are dropped that shards lost when they started again", self._dropped)
