"""The rows that serving reads: one table per name, without optimizer state."""

from collections.abc import Mapping

from ps.arrays import Float32, Int64
from ps.settings import RowFormat, TableSettings
from ps.shard import table_seed
from ps.table import EmbeddingTable
from ps.updates import Update, UpdateError


class Tables:
    """The rows of every table. Thread-safe; lookups go on while updates are applied."""

    def __init__(self, tables: Mapping[str, EmbeddingTable]) -> None:
        self._tables = dict(tables)

    @classmethod
    def empty(cls, settings: Mapping[str, TableSettings], seed: int, rows: RowFormat = "float32") -> "Tables":
        """No rows: every id reads as its initial value, the same as on the shards."""
        return cls(
            {
                name: EmbeddingTable(s, table_seed(seed, name), optimizer=False, rows=rows)
                for name, s in settings.items()
            }
        )

    def lookup(self, ids: Mapping[str, Int64]) -> dict[str, Float32]:
        """Rows `float32[n, dim]` by table for ids `int64[n]`."""
        return {name: self._tables[name].lookup(table_ids) for name, table_ids in ids.items()}

    def check(self, update: Update) -> None:
        """Raise UpdateError unless each table of `update` is one of ours and as wide."""
        for name in (*update.rows, *update.deleted):
            if name not in self._tables:
                raise UpdateError(
                    f"shard {update.shard} sends table {name!r}, which the job file does not have"
                )
        for name, (_, rows) in update.rows.items():
            if rows.shape[1] != self._tables[name].dim:
                raise UpdateError(
                    f"shard {update.shard}, table {name!r}: rows of {rows.shape[1]} floats, "
                    f"here they have {self._tables[name].dim}"
                )

    def apply(self, update: Update) -> None:
        """Take the rows and the deletions of an update that `check` has passed."""
        for name, (ids, rows) in update.rows.items():
            self._tables[name].assign(ids, rows)
        for name, ids in update.deleted.items():
            self.remove(name, ids)

    def assign(self, name: str, ids: Int64, rows: Float32) -> None:
        """Set rows of one table: `int64[n]`, `float32[n, dim]`."""
        self._tables[name].assign(ids, rows)

    def remove(self, name: str, ids: Int64) -> None:
        """Remove rows of one table: `int64[n]`."""
        self._tables[name].remove(ids)

    def clone(self) -> "Tables":
        """A copy that goes its own way."""
        return Tables({name: table.clone() for name, table in self._tables.items()})

    def dims(self) -> dict[str, int]:
        """Floats per row by table."""
        return {name: table.dim for name, table in self._tables.items()}

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return {name: len(table) for name, table in self._tables.items()}

    def memory_bytes(self) -> int:
        """Memory of all tables."""
        return sum(table.memory_bytes for table in self._tables.values())
