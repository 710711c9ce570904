"""All parameters of a replica: what predictions read, and the same on disk, changed together.

Live parameters follow the updates. A frozen copy stays as it is, for comparison; it survives a restart.
"""

import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ps.arrays import Float32
from ps.settings import RowFormat, TableSettings
from ps.updates import DenseReference, Update, UpdateError
from serving.dense import Dense, DenseVersion
from serving.lives import Complete, Sweep, complete_lives, lost
from serving.progress import ShardProgress
from serving.store import Contents, DenseFile, Store
from serving.tables import Tables

FORMAT_VERSION: Final = 2
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frozen:
    """Parameters that no update changes."""

    tables: Tables
    dense: DenseVersion


class Parameters:
    """Rows, dense tensors and progress, in memory and in the store below `state_dir`. Thread-safe."""

    tables: Tables
    dense: Dense
    frozen: Frozen | None
    progress: dict[int, ShardProgress]
    """What each shard's updates have come to."""
    offsets: dict[int, int]
    """Partition of `updates` to the next offset."""
    wanted_dense: dict[int, DenseReference]
    """References that were read before the start, and whose tensors are not here."""
    _source: str | None
    _sweep: Sweep

    def __init__(
        self,
        state_dir: Path,
        settings: Mapping[str, TableSettings],
        seed: int,
        initial_dense: Mapping[str, Float32],
        rows: RowFormat = "float32",
    ) -> None:
        """Go on from what `state_dir` holds, if it is of the same tables and seed; else from nothing.

        `rows`: how memory keeps them; the disk has float32, so the next start may choose another. Raises
        StoreError when the directory can't be used.
        """
        self._settings = settings
        self._seed = seed
        self._rows: RowFormat = rows
        self._initial_dense = initial_dense
        self._state_dir = state_dir
        self._lock = threading.Lock()
        self._identity = _identity(settings, seed)
        self.store = Store(state_dir / "rows")
        self._load()
        self.frozen = self._load_frozen()

    def apply(
        self, updates: Sequence[Update], progress: Mapping[int, ShardProgress], offsets: Mapping[int, int]
    ) -> None:
        """Take `updates`, to disk first; raises StoreError, with nothing changed, when the disk refuses."""
        with self._lock:
            self.store.write(updates, progress, offsets)
            for update in updates:
                self.tables.apply(update)
            self.progress = {**self.progress, **progress}
            self.offsets = {**self.offsets, **offsets}

    def sweep(self) -> bool:
        """Drop a few of the rows that their shards have lost; False: none is left. Raises StoreError."""
        with self._lock:
            return self._sweep.step(complete_lives(self.progress))

    def replace_dense(self, shard: int, reference: DenseReference, tensors: Mapping[str, Float32]) -> None:
        """Take a version of one shard's dense tensors; raises UpdateError for tensors that don't fit."""
        with self._lock:
            self.dense.check(tensors)
            self.store.write_dense(shard, DenseFile(reference, tensors))
            self.dense.replace(shard, reference.version, tensors)

    def follow_topic(self, source: str, ends: Mapping[int, int]) -> None:
        """The updates come from `source` (cluster and topic), whose partitions hold messages up to `ends`.

        If that is not the log of before, or it has lost what was read from it, we start from nothing.
        """
        with self._lock:
            beyond = [p for p, offset in self.offsets.items() if offset > ends.get(p, 0)]
            if self._source not in (None, source) or beyond:
                _log.warning("%s is not the log this state was read from: starting from nothing", source)
                self._begin(source)
            elif self._source is None:
                self.store.identify({**self._identity, "source": source})
                self._source = source

    def freeze(self) -> Frozen:
        """Keep a copy of what there is now, in place of any before; raises StoreError."""
        with self._lock:
            before = self._frozen_paths()
            number = max((int(path.name) for path in before), default=0) + 1
            self.store.checkpoint(self._frozen_dir / str(number))
            self.frozen = Frozen(self.tables.clone(), self.dense.current)
            for path in before:
                shutil.rmtree(path)
            return self.frozen

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            self.store.close()

    @property
    def _frozen_dir(self) -> Path:
        return self._state_dir / "frozen"

    def _frozen_paths(self) -> list[Path]:
        found = self._frozen_dir.glob("*") if self._frozen_dir.exists() else ()
        return sorted((path for path in found if path.name.isdigit()), key=lambda path: int(path.name))

    def _load(self) -> None:
        contents = self.store.contents()
        known = {key: contents.identity.get(key) for key in self._identity}
        if contents.identity and known != self._identity:
            _log.warning(
                "%s is of other tables, another seed or an older format: starting from nothing",
                self._state_dir,
            )
            self._begin(None)
            return
        self._source = contents.identity.get("source")
        complete = complete_lives(contents.progress)
        self.tables, dropped = self._read_tables(self.store, complete)
        self.dense = self._read_dense(contents)
        # A sweep that a crash has ended goes on; what it left is out of memory already.
        self._sweep = Sweep(self.store, self.tables, {} if dropped else complete)
        self.progress = dict(contents.progress)
        self.offsets = dict(contents.offsets)
        self.wanted_dense = {
            shard: reference
            for shard, reference in contents.wanted.items()
            if shard not in contents.dense or contents.dense[shard].reference != reference
        }

    def _load_frozen(self) -> Frozen | None:
        paths = self._frozen_paths()
        if not paths:
            return None
        store = Store(paths[-1], read_only=True)
        # With the lost rows that no sweep had come to: they were in the copy.
        tables, _ = self._read_tables(store, {})
        dense = self._read_dense(store.contents())
        store.close()
        return Frozen(tables, dense.current)

    def _read_tables(self, store: Store, complete: Complete) -> tuple[Tables, int]:
        """The rows of `store`, and how many were left out, being lost."""
        tables, dropped = self._empty_tables(), 0
        for table, ids, lives, rows, _ in store.rows():
            kept = ~lost(ids, lives, complete)
            dropped += len(ids) - int(kept.sum())
            tables.assign(table, ids[kept], rows[kept])
        return tables, dropped

    def _read_dense(self, contents: Contents) -> Dense:
        dense = Dense(self._initial_dense)
        for shard, file in contents.dense.items():
            try:
                dense.check(file.tensors)
            except UpdateError as error:
                _log.warning("stored dense tensors are left out: %s", error)
            else:
                dense.replace(shard, file.reference.version, file.tensors)
        return dense

    def _empty_tables(self) -> Tables:
        return Tables.empty(self._settings, self._seed, self._rows)

    def _begin(self, source: str | None) -> None:
        """Start from nothing."""
        self.store.begin({**self._identity, "source": source})
        self._source = source
        self.tables, self.dense = self._empty_tables(), Dense(self._initial_dense)
        self._sweep = Sweep(self.store, self.tables, {})
        self.progress, self.offsets, self.wanted_dense = {}, {}, {}
        shutil.rmtree(self._frozen_dir, ignore_errors=True)
        self.frozen = None


def _identity(settings: Mapping[str, TableSettings], seed: int) -> dict[str, Any]:
    """What the rows of a store depend on; optimizers are the shards' affair."""
    tables = {
        name: {"dim": table.dim, "initializer": table.initializer.model_dump()}
        for name, table in settings.items()
    }
    return {"version": FORMAT_VERSION, "seed": seed, "tables": tables}
