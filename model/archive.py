"""The archive of `examples` read back as messages, each partition in the order of its offsets.

Files are by hour of event time (`docs/formats.md`), so the examples of a partition are spread over several.
Row groups are read in the order of their joins, and what is not next by `sequence` waits in memory: that is
the row groups that overlap at one time, however large files are, and however many.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from model.batches import Message
from ps.tensor_files import filesystem

_THREADS: Final = 16
"""Object stores answer late, but many at once."""
_PLACES: Final = ("topic", "partition", "offset", "sequence", "joined_ts")
_EXAMPLES: Final = ("topic", "partition", "offset", "sequence", "example")
_NEVER: Final = (1 << 63) - 1


class Extent(NamedTuple):
    """What a row group has of one partition."""

    first_offset: int
    last_offset: int
    first_sequence: int
    last_sequence: int


class RowGroup(NamedTuple):
    """One of a file, with the time of its first join and what it has of which partition."""

    path: str
    number: int
    joined_ms: int
    extents: Mapping[int, Extent]


class Archive:
    """The finished files at `url`, as far as they are of `topic`. For one thread."""

    def __init__(self, url: str, topic: str) -> None:
        """`url`: of any file system of pyarrow, or a plain path."""
        self.url = url
        self._topic = topic
        self._files, self._root = filesystem(url)
        self._known: dict[str, list[RowGroup]] = {}
        self.row_groups: list[RowGroup] = []
        """Of all files that `refresh` has found, in the order of their joins."""

    def refresh(self) -> bool:
        """Look which files there are; whether some are new. Of those the places of all examples are read.

        Raises OSError; ValueError for a file that is no archive's.
        """
        paths = list(self._finished())
        new = [path for path in paths if path not in self._known]
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(new, pool.map(self._row_groups_of, new), strict=True))
        self._known = {path: found.get(path) or self._known.get(path, []) for path in paths}
        together = (group for groups in self._known.values() for group in groups)
        self.row_groups = sorted(together, key=lambda group: group.joined_ms)
        return bool(new)

    def _finished(self) -> Iterator[str]:
        selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        for info in self._files.get_file_info(selector):
            parts = PurePosixPath(info.path).relative_to(PurePosixPath(self._root)).parts
            if info.is_file and info.path.endswith(".parquet") and not any(p[0] in "._" for p in parts):
                yield info.path

    def _row_groups_of(self, path: str) -> list[RowGroup]:
        try:
            with self._files.open_input_file(path) as file:
                parquet = pq.ParquetFile(file, pre_buffer=True)
                tables = [self._read(parquet, index, _PLACES) for index in range(parquet.num_row_groups)]
        except pa.ArrowInvalid as error:
            message = f"{path} at {self.url} is no file of an archive: {str(error).strip()}"
            raise ValueError(message) from error
        return [
            RowGroup(path, index, pc.min(table["joined_ts"]).as_py() or 0, dict(_extents(table)))
            for index, table in enumerate(tables)
            if len(table)
        ]

    def _read(self, parquet: Any, index: int, columns: Sequence[str]) -> pa.Table:
        table = parquet.read_row_group(index, columns=list(columns), use_threads=False)
        return table.filter(pc.field("topic") == self._topic)

    def read(self, group: RowGroup, columns: Sequence[str]) -> pa.Table:
        """These columns of a row group, without rows of other topics."""
        with self._files.open_input_file(group.path) as file:
            return self._read(pq.ParquetFile(file, pre_buffer=True), group.number, columns)

    def end(self, partition: int) -> int:
        """The offset after the last example of `partition`; 0: there is none."""
        extents = (group.extents.get(partition) for group in self.row_groups)
        return max((extent.last_offset + 1 for extent in extents if extent is not None), default=0)

    def cursor(self, partition: int, offset: int) -> "Cursor":
        """Where reading begins whose first message is the next at or after `offset`."""
        sequence = 0
        for group in self.row_groups:
            extent = group.extents.get(partition)
            if extent is not None and extent.first_offset < offset:
                whole = extent.last_offset < offset
                last = extent.last_sequence if whole else self._last_before(group, partition, offset)
                sequence = max(sequence, last + 1)
        return Cursor(offset, sequence)

    def _last_before(self, group: RowGroup, partition: int, offset: int) -> int:
        table = self.read(group, _PLACES)
        before = (pc.field("partition") == partition) & (pc.field("offset") < offset)
        return int(pc.max(table.filter(before)["sequence"]).as_py())


def _extents(table: pa.Table) -> Iterator[tuple[int, Extent]]:
    partitions, offsets, sequences = (table[name].to_numpy() for name in ("partition", "offset", "sequence"))
    for partition in np.unique(partitions).tolist():
        those = [column[partitions == partition] for column in (offsets, sequences)]
        yield partition, Extent(*(int(edge) for column in those for edge in (column.min(), column.max())))


@dataclass(slots=True)
class Cursor:
    """Where the reading of one partition stands."""

    offset: int
    """The next message is there or later."""
    sequence: int
    """Of its first example."""


class Gap(NamedTuple):
    """So many examples that no file has: of messages from offset `first` on, all before `next`."""

    partition: int
    first: int
    next: int
    examples: int


class Sweep:
    """One pass over the row groups from `cursors` (by partition) on, which go along. For one thread."""

    def __init__(self, archive: Archive, cursors: dict[int, Cursor]) -> None:
        self._archive = archive
        self.cursors = cursors
        self._row_groups = [group for group in archive.row_groups if _is_ahead(group, cursors)]
        self._unread = {partition: _first_unread(self._row_groups, partition) for partition in cursors}
        self._waiting: dict[int, dict[int, tuple[int, bytes]]] = {partition: {} for partition in cursors}
        """By partition and sequence: offset and example."""

    def leave(self, partition: int) -> None:
        """Yield no more of `partition`."""
        del self.cursors[partition], self._waiting[partition]

    def __iter__(self) -> Iterator[Message | Gap]:
        """Messages, each when all before it are known; a gap is passed over unless the partition is left.

        Raises OSError; ValueError when an example is there twice.
        """
        for number, group in enumerate(self._row_groups, 1):
            self._load(group)
            for partition in group.extents.keys() & self.cursors.keys():
                yield from self._known(partition, self._unread[partition][number])

    def _load(self, group: RowGroup) -> None:
        table = self._archive.read(group, _EXAMPLES)
        for partition in group.extents.keys() & self.cursors.keys():
            cursor, waiting = self.cursors[partition], self._waiting[partition]
            ahead = (pc.field("partition") == partition) & (pc.field("offset") >= cursor.offset)
            mine = table.filter(ahead)
            sequences, offsets, examples = (
                mine[name].to_numpy().tolist() for name in ("sequence", "offset", "example")
            )
            expected = len(waiting) + len(sequences)
            waiting.update(zip(sequences, zip(offsets, examples, strict=True), strict=True))
            if len(waiting) < expected or min(sequences, default=_NEVER) < cursor.sequence:
                raise ValueError(
                    f"{group.path} has examples of partition {partition} that other files have, too: at "
                    f"{self._archive.url} are several archives, or copies of files; name a place with one"
                )

    def _known(self, partition: int, unread: int) -> Iterator[Message | Gap]:
        """What is known by now of `partition`; `unread`: the lowest sequence that is not."""
        waiting, cursor = self._waiting[partition], self.cursors[partition]
        for sequence in sorted(waiting):
            if sequence > cursor.sequence:
                offset = waiting[sequence][0]
                if sequence >= unread:
                    return
                if offset > cursor.offset:
                    yield Gap(partition, cursor.offset, offset, sequence - cursor.sequence)
                if partition not in self.cursors:
                    return
                cursor.offset, cursor.sequence = offset, sequence
            # Below it are the examples that went out with the first of their message.
            if sequence == cursor.sequence:
                message = self._message(partition, unread)
                if message is None:
                    return
                yield message

    def _message(self, partition: int, unread: int) -> Message | None:
        """The message at the cursor, which goes on; None: a row group not read yet may have some of it."""
        waiting, cursor = self._waiting[partition], self.cursors[partition]
        offset, end = waiting[cursor.sequence][0], cursor.sequence + 1
        while end in waiting and waiting[end][0] == offset:
            end += 1
        if end not in waiting and unread <= end:
            return None
        examples = tuple(waiting.pop(sequence)[1] for sequence in range(cursor.sequence, end))
        cursor.offset, cursor.sequence = offset + 1, end
        return Message(partition, offset, examples)


def _is_ahead(group: RowGroup, cursors: Mapping[int, Cursor]) -> bool:
    extents = ((group.extents.get(partition), cursor) for partition, cursor in cursors.items())
    return any(extent is not None and extent.last_offset >= cursor.offset for extent, cursor in extents)


def _first_unread(groups: Sequence[RowGroup], partition: int) -> list[int]:
    """By number of row groups read: the lowest sequence of `partition` in the others."""
    extents = (group.extents.get(partition) for group in reversed(groups))
    lowest = (_NEVER if extent is None else extent.first_sequence for extent in extents)
    return list(accumulate(lowest, min, initial=_NEVER))[::-1]
