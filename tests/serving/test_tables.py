"""Rows of a replica, in each of the formats that `serving.rows` offers."""

import numpy as np
import pytest

from ps.reference import stored
from ps.settings import TableSettings
from ps.shard import table_seed
from ps.table import EmbeddingTable
from ps.updates import Update
from serving.tables import Tables

IDS = np.arange(100)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_rows_of_updates_read_as_their_format_keeps_them_and_others_as_on_the_shards(kind: str):
    tables = Tables.empty({"item": TableSettings(dim=8)}, seed=3, rows=kind)
    initial = EmbeddingTable(TableSettings(dim=8), table_seed(3, "item")).lookup(IDS)
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    tables.apply(Update(shard=0, shards=1, epoch=1, sequence=1, life=1, rows={"item": (IDS[:50], rows)}))
    assert np.array_equal(tables.lookup({"item": IDS})["item"][:50], stored(rows, kind))
    assert np.array_equal(tables.lookup({"item": IDS})["item"][50:], initial[50:])
    assert np.array_equal(tables.clone().lookup({"item": IDS})["item"], tables.lookup({"item": IDS})["item"])
