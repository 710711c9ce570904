"""Named float32 tensors in a Parquet file: columns `name`, `shape` list<int64>, `values` list<float>."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from ps.arrays import Float32
from ps.updates import DenseReference, UpdateError

_SCHEMA = pa.schema(
    [("name", pa.string()), ("shape", pa.list_(pa.int64())), ("values", pa.list_(pa.float32()))]
)


def absolute_url(url: str, *below: str) -> str:
    """`url`, or the file URL of a plain path, with `below` added to its path."""
    parts = urlsplit(url if "://" in url else Path(url).resolve().as_uri())
    # What follows the path stays behind it: s3://bucket/path?region=…
    return parts._replace(path="/".join((parts.path.rstrip("/"), *below))).geturl()


def filesystem(url: str) -> tuple[fs.FileSystem, str]:
    """The file system of `url` and the path in it; a plain path means this machine's files."""
    return fs.FileSystem.from_uri(absolute_url(url))  # type: ignore[no-any-return]


def sha256_of(files: fs.FileSystem, path: str) -> str:
    """The SHA-256 of a file, hexadecimal, as `sha256sum` prints it."""
    with files.open_input_stream(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_tensors(files: fs.FileSystem, path: str, tensors: Mapping[str, Float32]) -> None:
    """Write `tensors` to a new file."""
    columns = [
        list(tensors),
        [list(t.shape) for t in tensors.values()],
        pa.array([t.ravel() for t in tensors.values()], pa.list_(pa.float32())),
    ]
    table = pa.table(dict(zip(_SCHEMA.names, columns, strict=True)), schema=_SCHEMA)
    # Dictionaries and compression only cost time on random floats.
    pq.write_table(table, path, filesystem=files, use_dictionary=False, compression="none")


def read_tensors(files: fs.FileSystem, path: str) -> dict[str, Float32]:
    """The tensors of a file; raises ValueError when a shape doesn't fit its values."""
    table = pq.read_table(path, filesystem=files, schema=_SCHEMA)
    shapes = table.column("shape").to_pylist()
    values = [scalar.values.to_numpy() for scalar in table.column("values")]
    named = zip(table.column("name").to_pylist(), values, shapes, strict=True)
    return {name: value.astype(np.float32, copy=True).reshape(shape) for name, value, shape in named}


def read_dense(reference: DenseReference) -> dict[str, Float32]:
    """The tensors that a message of `updates` refers to.

    Raises UpdateError if the file is damaged, FileNotFoundError if it is gone: shards keep the newest few.
    """
    files, path = filesystem(reference.url)
    if sha256_of(files, path) != reference.sha256:
        raise UpdateError(f"{reference.url}: the checksum is wrong: the file was damaged")
    return read_tensors(files, path)
