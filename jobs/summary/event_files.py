"""Files of raw events as a backfill reads them, for those who check it afterwards."""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

_BATCH_ROWS = 10_000
_COLUMNS = ("value", "timestamp", "partition", "offset")
_COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".bz2": "bz2", ".zst": "zstd"}
"""By how names end, as Flink goes by them."""


@dataclass(frozen=True, slots=True)
class FileEvent:
    """A line or a row; its methods are those of a Kafka message."""

    file: str | None
    """As Flink writes its path; None: the row says where it was in Kafka."""
    place: tuple[int, int]
    logged_ms: int | None
    event: bytes | None

    def value(self) -> bytes | None:
        """The event."""
        return self.event

    def partition(self) -> int:
        """0, or that of Kafka."""
        return self.place[0]

    def offset(self) -> int:
        """Which line or row, from 1, or that of Kafka."""
        return self.place[1]


def read_files(url: str, form: Literal["json", "parquet"]) -> Iterator[FileEvent]:
    """Every event below `url`. Raises OSError."""
    system, root = _file_system(url)
    info = system.get_file_info(root)
    found = (
        [info]
        if info.type == fs.FileType.File
        else system.get_file_info(fs.FileSelector(root, recursive=True))
    )
    read = _lines if form == "json" else _rows
    for file in found:
        if file.type == fs.FileType.File and not _is_hidden(file.path, root):
            yield from read(system, file.path, flink_name(url) + file.path.removeprefix(root.rstrip("/")))


def _file_system(url: str) -> tuple[fs.FileSystem, str]:
    if url.startswith("file://"):
        return fs.LocalFileSystem(), url.removeprefix("file://")
    try:
        return fs.FileSystem.from_uri(url)  # type: ignore[no-any-return]
    except pa.ArrowInvalid as error:
        raise OSError(f"{url}: this machine does not know what Flink knows: {error}") from error


def flink_name(url: str) -> str:
    """A file or folder as Flink writes it, for whom neither `?` nor `#` ends a path."""
    scheme_and_host = re.match("([^:/]+:(//[^/]+)?)?", url)
    assert scheme_and_host  # it may be empty
    head = scheme_and_host[0]
    return head + re.sub("/+", "/", url.removeprefix(head)).rstrip("/")


def _is_hidden(path: str, root: str) -> bool:
    below = PurePosixPath(path).parts[len(PurePosixPath(root).parts) :]
    return any(part.startswith((".", "_")) for part in below)


def _lines(system: fs.FileSystem, path: str, name: str) -> Iterator[FileEvent]:
    suffix = PurePosixPath(path).suffix
    with system.open_input_stream(path, compression=_COMPRESSIONS.get(suffix)) as stream:
        # pyarrow does not know zlib's own format.
        unpacked = io.BytesIO(zlib.decompress(stream.read())) if suffix == ".deflate" else stream
        for number, line in enumerate(io.BufferedReader(unpacked), 1):
            if line.strip(b" \t\r\n"):
                yield FileEvent(name, (0, number), None, line.removesuffix(b"\n"))


def _rows(system: fs.FileSystem, path: str, name: str) -> Iterator[FileEvent]:
    with system.open_input_file(path) as source:
        file, number = pq.ParquetFile(source), 0
        wanted = [each for each in _COLUMNS if each in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            for row in _in_ms(batch).to_pylist():
                number += 1
                yield _event(row, name, number)


def _in_ms(batch: pa.RecordBatch) -> pa.RecordBatch:
    place = batch.schema.get_field_index("timestamp")
    if place < 0 or not pa.types.is_timestamp(batch.schema.types[place]):
        return batch
    times = batch.column(place).cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return batch.set_column(place, "timestamp", times)


def _event(row: dict[str, Any], name: str, number: int) -> FileEvent:
    value = row["value"]
    event = value.encode() if isinstance(value, str) else value
    partition, offset = row.get("partition"), row.get("offset")
    if partition is None or offset is None:
        return FileEvent(name, (0, number), row.get("timestamp"), event)
    return FileEvent(None, (partition, offset), row.get("timestamp"), event)
