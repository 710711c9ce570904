"""Tables with bounds, and batches that come to them."""

from typing import Any

import numpy as np

from ps.settings import TableSettings
from ps.table import EmbeddingTable

HOUR_MS = 3_600_000
NOW_MS = 1_764_000_000_000
BATCHES_OF_CLOCK = 31


def table_with(dim: int = 4, **bounds: Any) -> EmbeddingTable:
    return EmbeddingTable(TableSettings(dim=dim, **bounds), 7)


def learn(table: EmbeddingTable, ids: Any, ts_ms: int = NOW_MS) -> None:
    ids = np.asarray(ids, np.int64)
    table.apply_gradients(ids, np.ones((len(ids), table.dim), np.float32), ts_ms)


def set_clock(table: EmbeddingTable, now_ms: int) -> None:
    for _ in range(BATCHES_OF_CLOCK):
        learn(table, [], now_ms)


def has(table: EmbeddingTable, ids: Any) -> list[bool]:
    return table.contains(np.asarray(ids, np.int64)).tolist()
