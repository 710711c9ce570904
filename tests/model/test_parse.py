import re

import numpy as np
import pytest

from model.features import MISSING
from model.parse import MAX_SCORES, ExampleParser

USER, ITEM = {"user_id": 7, "country": "DE"}, {"item_id": 3, "price": 2.5}


@pytest.fixture
def parser(schema) -> ExampleParser:
    return ExampleParser(schema)


@pytest.fixture
def example(schema, make_example):
    return lambda **changes: make_example(schema, USER, {}, ITEM, **changes)


def test_labels_masks_rates_and_times_come_by_column(parser, example):
    found = parser.parse([example(click=1.0, sampling_rate=0.25), example(masks={"click": 0.0}, ts_ms=9)])
    assert found.labels.tolist() == [[1], [0]]
    assert found.masks.tolist() == [[1], [0]]
    assert found.sampling_rates.tolist() == [0.25, 1]
    assert found.ts_ms.tolist() == [1000, 9]
    assert found.action_ts_ms.tolist() == [2000, 0]
    assert found.action_logged_ts_ms.tolist() == [2100, 0]


def test_a_feature_named_item_id_reads_the_text_that_every_example_has(parser, example):
    assert parser.parse([example()]).columns["item_id"].tolist() == [3]


def test_scores_are_found_by_whatever_names_they_have(parser, example):
    assert parser.parse([example()]).scores == {}
    found = parser.parse([example(), example(scores={"click": 0.5, "click@frozen": 0.25})])
    assert found.scores["click"][1] == 0.5
    assert np.isnan(found.scores["click@frozen"][0])


def test_no_flood_of_names_makes_the_parser_grow(parser, example):
    names = {f"click@{i}": 0.5 for i in range(3 * MAX_SCORES)}
    assert len(parser.parse([example(scores=names)]).scores) == MAX_SCORES


@pytest.mark.parametrize("bad", [b"no example", b"\xff" * 20])
def test_what_is_no_example_teaches_nothing_and_spoils_nothing(parser, example, bad):
    found = parser.parse([example(click=1.0), bad, example(click=1.0)])
    assert found.masks.tolist() == [[1], [0], [1]]
    assert found.columns["user_id"][[0, 2]].tolist() == [7, 7]
    assert parser.malformed == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"item_id": "abc"}, "`item_id` of an example is no integer of 64 bits: .*'abc'"),
        ({"item_id": str(1 << 63)}, "`item_id` of an example is no integer of 64 bits"),
        (
            {"features": {"liked": [1] * 1025}},
            "list `liked` of an example has 1025 values, 1024 are possible",
        ),
        ({"features": {"liked": [1] * 64, "words": ["x"] * 65}}, "cross `liked_words` .* has 4160 values"),
    ],
)
def test_what_no_event_may_hold_is_told_teaches_nothing_and_spoils_nothing(
    parser, example, changes, sentence, caplog
):
    found = parser.parse([example(click=1.0), example(**changes), example(click=1.0)])
    assert found.masks.tolist() == [[1], [0], [1]]
    assert found.columns["item_id"].tolist() == [3, MISSING, 3]
    assert parser.malformed == 1
    assert re.search(sentence, caplog.text)


def test_an_example_of_another_schema_teaches_nothing(parser, example, make_example, small):
    other = example().replace(b"user_id", b"country")
    assert parser.parse([other]).masks.tolist() == [[0]]
    assert parser.malformed == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_rate": 0.0},
        {"sampling_rate": -1.0},
        {"sampling_rate": 1.5},
        {"sampling_rate": float("nan")},
        {"labels": {"click": float("inf")}},
        {"labels": {"click": 1e10}},
        {"masks": {"click": float("inf")}},
        {"features": {"was:click": -1e10}},
        {"features": {"pool_probability": 1.5}},
        {"features": {"pool_probability": -0.5}},
    ],
)
def test_numbers_that_would_poison_the_model_teach_nothing(parser, example, changes):
    found = parser.parse([example(), example(**changes)])
    assert found.masks.tolist() == [[1], [0]]
    assert (found.labels == 0).all()
    assert found.sampling_rates.tolist() == [1, 1]
    assert np.isnan(found.was).all()
    assert found.pool_probabilities.tolist() == [0, 0]
    assert parser.malformed == 1


def test_what_a_correction_takes_back_and_what_no_action_made_come_by_label(mixed, make_example):
    def example(**features):
        return make_example(mixed, {}, {}, ITEM, labels={"click": 1, "play": 2}, features=features)

    found = ExampleParser(mixed).parse(
        [example(**{"was:click": 0.0}), example(**{"otherwise:play": 1.0}), example(pool_probability=0.25)]
    )
    np.testing.assert_array_equal(found.was, [[0, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    assert found.otherwise.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert found.pool_probabilities.tolist() == [0, 0, 0.25]


def test_of_a_binary_label_no_action_is_behind_a_0(parser, example):
    assert parser.parse([example(click=1.0), example()]).otherwise.tolist() == [[0], [1]]


def test_some_of_the_examples_are_as_if_they_had_come_alone(schema, parser, make_example):
    users = [{"user_id": i, "liked": list(range(i)), "words": ["a"] * (i % 2)} for i in range(5)]
    serialized = [make_example(schema, user, {}, ITEM, scores={"click": 0.5}) for user in users]
    chosen = np.array([True, False, True, False, True])
    some = parser.parse(serialized).only(chosen)
    alone = parser.parse([each for each, is_in in zip(serialized, chosen, strict=True) if is_in])
    for name, column in alone.columns.items():
        for found, wanted in zip(some.columns[name], column, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert some.scores["click"].tolist() == [0.5] * 3
    for name in ("labels", "masks", "was", "otherwise", "sampling_rates", "pool_probabilities", "ts_ms"):
        np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))
    assert len(some) == 3
