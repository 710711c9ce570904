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
    ],
)
def test_numbers_that_would_poison_the_model_teach_nothing(parser, example, changes):
    found = parser.parse([example(), example(**changes)])
    assert found.masks.tolist() == [[1], [0]]
    assert np.isfinite(found.labels).all()
    assert found.sampling_rates.tolist() == [1, 1]
    assert parser.malformed == 1
