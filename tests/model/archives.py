"""Writes archives of the columns that are read of them."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from model.batches import Message

TOPIC = "examples"


class Row(NamedTuple):
    topic: str
    partition: int
    offset: int
    position: int
    sequence: int
    joined_ts: int
    example: bytes


def rows_of(messages: Iterable[Message], topic: str = TOPIC) -> list[list[Row]]:
    """Of each message; `messages` in the order in which the archive gets them."""
    written: dict[int, int] = defaultdict(int)
    rows = []
    for number, (partition, offset, examples) in enumerate(messages):
        first = written[partition]
        rows.append(
            [
                Row(topic, partition, offset, i, first + i, 10 * number, example)
                for i, example in enumerate(examples)
            ]
        )
        written[partition] += len(examples)
    return rows


def write(
    folder: Path, rows: list[Row], hour: int = 0, name: str = "compacted-1", group_rows: int = 3
) -> Path:
    columns = {field: [getattr(row, field) for row in rows] for field in Row._fields}
    table = pa.table(
        {**columns, "partition": pa.array(columns["partition"], pa.int32()), "item_id": ["7"] * len(rows)}
    )
    file = folder / "event_day=2026-01-01" / f"event_hour={hour:02}" / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=group_rows)
    return file


def message(offset: int, examples: int = 2, partition: int = 0) -> Message:
    return Message(partition, offset, tuple(b"%d-%d-%d" % (partition, offset, i) for i in range(examples)))
