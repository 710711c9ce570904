from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import MISSING, Encoder, Lists, fingerprint, slots, table_settings, tables
from model.parse import ExampleParser
from model.requests import columns
from pipelines.records import FLOAT32_MAX, INT64_MAX
from pipelines.schema import ExampleSchema
from ps.settings import TableSettings

INT64 = st.integers(-INT64_MAX, INT64_MAX)
NUMBER = st.one_of(
    st.integers(-(1 << 24), 1 << 24),
    st.floats(-FLOAT32_MAX, FLOAT32_MAX, allow_nan=False, width=32),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def objects(**values):
    """JSON objects with any of `values`, each perhaps null or left out."""
    return st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in values.items()})


USER = objects(
    user_id=INT64, country=TEXT, liked=st.lists(INT64, max_size=3), words=st.lists(TEXT, max_size=3)
)
CONTEXT = objects(hour=st.integers(0, 23))
ITEM = objects(
    length=NUMBER, sizes=st.lists(NUMBER, max_size=3), price=NUMBER, marks=st.lists(NUMBER, max_size=3)
)
ITEMS = st.lists(st.tuples(INT64, ITEM).map(lambda pair: {"item_id": pair[0], **pair[1]}), max_size=3)
REQUESTS = st.lists(
    st.fixed_dictionaries({"user": USER, "context": CONTEXT, "items": ITEMS}), min_size=1, max_size=3
).filter(lambda requests: any(request["items"] for request in requests))


@pytest.fixture(scope="module")
def parser(schema) -> ExampleParser:
    return ExampleParser(schema)


def plain(ids):
    """Ids as lists, to be compared."""
    return {
        name: (each.values.tolist(), each.lengths.tolist()) if isinstance(each, Lists) else each.tolist()
        for name, each in ids.items()
    }


@given(REQUESTS)
def test_a_request_and_the_example_made_of_it_have_the_same_features(schema, parser, make_example, requests):
    examples = [make_example(schema, r["user"], r["context"], item) for r in requests for item in r["items"]]
    encoder = Encoder(schema)
    served = columns(schema, requests)
    learnt = parser.parse(examples).columns
    assert plain(encoder.ids(served)) == plain(encoder.ids(learnt))
    numbers = [encoder.numeric(each, len(examples)) for each in (served, learnt)]
    np.testing.assert_array_equal(*numbers)


def encode(schema, user=None, context=None, **item):
    request = {"user": user or {}, "context": context or {}, "items": [{"item_id": 3, **item}]}
    return plain(Encoder(schema).ids(columns(schema, [request])))


def test_integers_are_their_own_ids(schema):
    assert encode(schema, user={"user_id": -7})["user_id"] == [-7]


def test_strings_become_fingerprints_that_stay():
    assert fingerprint(b"DE") == -8_486_931_895_127_839_271


def test_what_is_missing_has_an_id_of_its_own(schema):
    ids = encode(schema, user={"country": "", "liked": []}, length=None)
    assert ids["user_id"] == ids["country"] == ids["hour"] == ids["length"] == [MISSING]
    assert ids["liked"] == ids["words"] == ids["sizes"] == ([MISSING], [1])


@pytest.mark.parametrize(("length", "bucket"), [(-5, 0), (0.99, 0), (1, 1), (9.5, 1), (10, 2), (1e9, 3)])
def test_floats_with_boundaries_become_the_number_of_their_bucket(schema, length, bucket):
    assert encode(schema, length=length)["length"] == [bucket]


def test_lists_of_floats_become_lists_of_buckets(schema):
    assert encode(schema, sizes=[0.1, 0.9, 0.2])["sizes"] == ([0, 1, 0], [3])


def test_numbers_enter_as_their_mean_and_missing_ones_as_zero(schema):
    items = [{"item_id": 1, "price": 2.5, "marks": [1, 2, 6]}, {"item_id": 2, "marks": []}]
    request = {"user": {}, "context": {}, "items": items}
    numbers = Encoder(schema).numeric(columns(schema, [request]), 2)
    assert numbers.tolist() == [[2.5, 3.0], [0.0, 0.0]]


def test_a_cross_of_lists_has_every_combination(schema):
    liked, words = [1, 2, 3], ["a", "b"]
    values, lengths = encode(schema, user={"liked": liked, "words": words})["liked_words"]
    alone = [
        encode(schema, user={"liked": [item], "words": [word]})["liked_words"][0][0]
        for item, word in product(liked, words)
    ]
    assert lengths == [6]
    assert values == alone
    assert len(set(values)) == 6


def test_crosses_of_the_same_values_differ_by_name_and_by_order():
    features = {name: {"from": f"user.{name}"} for name in ("a", "b")}
    crosses = {"ab": {"of": ["a", "b"]}, "ba": {"of": ["b", "a"]}, "again": {"of": ["a", "b"]}}
    schema = ExampleSchema.model_validate(
        {"features": features, "crosses": crosses, "labels": {"click": {"action": "click"}}}
    )
    ids = encode(schema, user={"a": 1, "b": 2})
    swapped = encode(schema, user={"a": 2, "b": 1})
    assert len({*ids["ab"], *ids["ba"], *ids["again"], *swapped["ab"], *swapped["ba"]}) == 5


def test_no_two_crosses_of_a_grid_share_an_id():
    features = {name: {"from": f"item.{name}"} for name in ("a", "b")}
    schema = ExampleSchema.model_validate(
        {
            "features": features,
            "crosses": {"ab": {"of": ["a", "b"]}},
            "labels": {"click": {"action": "click"}},
        }
    )
    items = [{"item_id": 0, "a": a, "b": b} for a in range(-150, 150) for b in range(-150, 150)]
    ids = Encoder(schema).ids(columns(schema, [{"items": items}]))["ab"]
    assert len(np.unique(ids)) == len(items)


def test_a_cross_of_a_number_is_refused():
    schema = ExampleSchema.model_validate(
        {
            "features": {"a": {"from": "user.a"}, "price": {"from": "item.price", "type": "float"}},
            "crosses": {"bad": {"of": ["a", "price"]}},
            "labels": {"click": {"action": "click"}},
        }
    )
    with pytest.raises(ValueError, match="cross 'bad' is made of 'price'"):
        Encoder(schema)


def test_features_share_a_table_when_they_say_so(schema):
    assert tables(schema)["item_id"] == ("liked", "item_id")
    assert [slot.table for slot in slots(schema) if slot.name == "liked_words"] == ["crossed"]


def test_a_row_is_one_float_wider_than_its_embedding(schema):
    settings = table_settings(schema, {"item_id": TableSettings(dim=8)}, TableSettings(dim=2))
    assert settings["item_id"].dim == 9
    assert settings["hour"].dim == 3
    assert "price" not in settings
