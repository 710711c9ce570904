"""What the bounds of a table remember, in a Parquet file of one row (`docs/formats.md`)."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ps.arrays import Int64
from ps.bounds import BoundsState
from ps.shard import TableBounds

_SCHEMA = pa.schema(
    [
        ("numbers", pa.large_list(pa.int64())),
        ("roster", pa.large_list(pa.int64())),
        ("filter", pa.large_binary()),
        ("removed", pa.large_list(pa.int64())),
    ]
)


def write_bounds(files: fs.FileSystem, path: str, bounds: TableBounds) -> None:
    """Write `bounds` to a new file."""
    state = bounds.state
    columns = [
        _one_list(state.numbers),
        _one_list(state.roster),
        pa.array([state.filter.tobytes()], pa.large_binary()),
        _one_list(bounds.removed),
    ]
    table = pa.table(columns, schema=_SCHEMA)
    pq.write_table(table, path, filesystem=files, use_dictionary=False, compression="lz4")


def read_bounds(files: fs.FileSystem, path: str) -> TableBounds:
    """The bounds in a file."""
    table = pq.read_table(path, filesystem=files, schema=_SCHEMA)
    row = {name: table.column(name)[0] for name in _SCHEMA.names}
    numbers, roster, removed = (_array(row[name]) for name in ("numbers", "roster", "removed"))
    return TableBounds(
        BoundsState(numbers, roster, np.frombuffer(row["filter"].as_buffer(), np.uint8)), removed
    )


def _one_list(values: Int64) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(np.array([0, len(values)], np.int64), values)


def _array(row: pa.LargeListScalar) -> Int64:
    values: Int64 = row.values.to_numpy()
    return values
