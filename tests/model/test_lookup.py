import numpy as np
import pytest

from model.features import Lists, table_settings
from model.lookup import Layout
from model.requests import columns
from ps.settings import TableSettings

REQUESTS = [
    {
        "user": {"user_id": 1, "liked": [3, 4], "words": ["a", "b"]},
        "context": {"hour": 9},
        "items": [{"item_id": 3}, {"item_id": 5, "length": 2}],
    },
    {"user": {"user_id": 2}, "context": {"hour": 9}, "items": [{"item_id": 3}]},
]


@pytest.fixture(scope="module")
def layout(schema) -> Layout:
    return Layout(schema, table_settings(schema, {"hour": TableSettings(dim=2)}, TableSettings(dim=4)))


@pytest.fixture(scope="module")
def lookup(schema, layout):
    return layout.plan(columns(schema, REQUESTS), 3)


def test_every_id_is_asked_for_once(lookup):
    assert lookup.ids["item_id"].tolist() == [3, 4, -(1 << 63), 5]
    assert lookup.ids["user_id"].tolist() == [1, 2]
    assert lookup.ids["hour"].tolist() == [9]


def test_segments_lead_every_slot_of_every_example_to_its_rows(schema, layout, lookup):
    stacked = np.concatenate(list(lookup.ids.values()))
    ids = layout.encoder.ids(columns(schema, REQUESTS))
    for number, slot in enumerate(layout.slots):
        each = ids[slot.name]
        lists = each if isinstance(each, Lists) else Lists(each, np.ones(3, np.int64))
        for example, wanted in enumerate(np.split(lists.values, np.cumsum(lists.lengths)[:-1])):
            found = stacked[lookup.flat[lookup.segments == number * 3 + example]]
            assert found.tolist() == wanted.tolist()


def test_segments_ascend(lookup):
    assert (np.diff(lookup.segments) >= 0).all()


def test_gradients_come_apart_as_rows_were_stacked(layout, lookup):
    rng = np.random.default_rng(1)
    widths = {table: 3 if table == "hour" else 5 for table in lookup.ids}
    rows = {t: rng.normal(size=(len(ids), widths[t])).astype(np.float32) for t, ids in lookup.ids.items()}
    apart = layout.unstack(lookup, layout.stack(lookup, rows))
    for table, (ids, gradients) in apart.items():
        assert ids is lookup.ids[table]
        assert gradients.flags.c_contiguous
        np.testing.assert_array_equal(gradients, rows[table])
