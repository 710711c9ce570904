import numpy as np
import pytest

from model.features import table_settings
from model.network import Network
from model.parse import ExampleParser
from model.score import Scorer
from model.settings import ModelSettings
from ps.settings import TableSettings
from ps.shard import table_seed
from ps.table import EmbeddingTable

MODEL = ModelSettings(hidden=(8,))
REQUESTS = [
    {
        "request_id": "r-1",
        "user": {"user_id": 1, "country": "DE", "liked": [3, 4], "words": ["a"]},
        "context": {"hour": 9},
        "items": [{"item_id": 3, "price": 1.5}, {"item_id": 5, "length": 20}],
    },
    {"user": {"user_id": 2}, "context": {}, "items": []},
    {"user": None, "items": [{"item_id": 3, "sizes": [0.1]}]},
]


@pytest.fixture(scope="module")
def tables(schema):
    return table_settings(schema, {}, TableSettings(dim=4))


@pytest.fixture(scope="module")
def scorer(schema, tables) -> Scorer:
    return Scorer(schema, MODEL, tables, seed=1)


@pytest.fixture(scope="module")
def lookup_rows(tables):
    served = {n: EmbeddingTable(s, table_seed(1, n), optimizer=False) for n, s in tables.items()}
    return lambda ids: {name: served[name].lookup(each) for name, each in ids.items()}


def test_scores_come_in_the_order_of_the_items_whatever_is_scored_together(scorer, lookup_rows):
    dense = scorer.initial_dense()
    together = scorer.score(REQUESTS, lookup_rows(scorer.ids(REQUESTS)), dense)["click"]
    alone = []
    for request in REQUESTS:
        for item in request["items"]:
            one = [{**request, "items": [item]}]
            alone.append(scorer.score(one, lookup_rows(scorer.ids(one)), dense)["click"][0])
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_serving_scores_an_example_as_training_predicts_it(schema, tables, scorer, lookup_rows, make_example):
    network = Network(schema, MODEL, tables, seed=1)
    items = [(r.get("user") or {}, r.get("context") or {}, item) for r in REQUESTS for item in r["items"]]
    parsed = ExampleParser(schema).parse([make_example(schema, *each) for each in items])
    lookup = network.lookup(parsed.columns, len(parsed))
    dense = network.initial_dense()
    learnt = network.learn(lookup, lookup_rows(lookup.ids), dense, parsed, step=0).predictions["click"]
    served = scorer.score(REQUESTS, lookup_rows(scorer.ids(REQUESTS)), dense)["click"]
    np.testing.assert_allclose(served, learnt, rtol=1e-6)


def test_other_dense_tensors_give_other_scores_and_the_old_ones_come_back(scorer, lookup_rows):
    rows, old = lookup_rows(scorer.ids(REQUESTS)), scorer.initial_dense()
    before = scorer.score(REQUESTS, rows, old)["click"]
    for shift in range(1, 8):
        new = {**old, "bias": old["bias"] + np.float32(shift)}
        assert (scorer.score(REQUESTS, rows, new)["click"] > before).all()
    np.testing.assert_array_equal(scorer.score(REQUESTS, rows, old)["click"], before)


def test_requests_without_items_have_no_scores(scorer, lookup_rows):
    empty = [REQUESTS[1]]
    assert scorer.score(empty, lookup_rows(scorer.ids(empty)), scorer.initial_dense())["click"].shape == (0,)
