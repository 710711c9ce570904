"""Reads the tables behind a replay: a row per user or video, with the columns and types of the schema."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.spec import Job
from jobs.traffic.paths import BadPathError, read_columns
from pipelines.schema import Origin

Row = dict[str, Any]


class Needs:
    """What the features of a job read from one origin: which keys, as which types."""

    def __init__(self, job: Job, origin: Origin) -> None:
        sources = job.schema_.sources[origin]
        self.keys = frozenset(source.key for source in sources)
        self._types = {key: {source.type for source in sources if source.key == key} for key in self.keys}
        self._many = {source.key for source in sources if source.many}

    def pick(self, values: Mapping[str, Any]) -> Row:
        """The needed ones of `values` that are not null, as the schema wants them; raises BadPathError."""
        return {
            key: self.cast(key, value)
            for key, value in values.items()
            if key in self.keys and value is not None
        }

    def cast(self, key: str, value: Any) -> Any:
        """One value as the schema wants it; text with commas is a list where the schema says `many`."""
        if key in self._many:
            return [self._cast_one(key, each) for each in str(value).split(",") if each.strip()]
        return self._cast_one(key, value)

    def _cast_one(self, key: str, value: Any) -> int | float | str:
        wanted = self._types[key]
        try:
            if "int" in wanted:
                return value if isinstance(value, int) else _whole(value)
            return float(value) if "float" in wanted else str(value)
        except (ValueError, OverflowError):
            kind = "int" if "int" in wanted else "float"
            raise BadPathError(
                f"traffic.path: column {key} holds {value!r}, but schema.features reads it as {kind}: "
                "give the feature `type: string`."
            ) from None


def _whole(value: Any) -> int:
    """Whole numbers come as text, or as floats where a CSV column has empty fields."""
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)


def read_by_id(path: Path, id_column: str, needs: Needs) -> dict[int, Row]:
    """The needed values of every row by the row's id; raises BadPathError."""
    table = read_columns(path)
    names = [name for name in table if name in needs.keys]
    rows: dict[int, Row] = {row_id: {} for row_id in table[id_column]}
    for name in names:
        _add_column(rows, table[id_column], name, table[name], needs)
    return rows


def _add_column(
    rows: dict[int, Row], ids: Sequence[int], name: str, values: Sequence[Any], needs: Needs
) -> None:
    casts: dict[Any, Any] = {}
    for row_id, value in zip(ids, values, strict=True):
        if value is not None:
            # Few columns have many values: cast each only once.
            if value not in casts:
                casts[value] = needs.cast(name, value)
            rows[row_id][name] = casts[value]
