"""Raw events: what is read, what is refused, and with which sentence."""

import contextlib
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import MalformedEvent, decode_action, decode_request, extract
from pipelines.schema import ExampleSchema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["request_id", "ts", "user", "context", "items", "item_id", "action", "value", "scores", "user_id"]


def test_a_request_is_read_with_its_items(job, features_event):
    items = [{"item_id": 3, "price": 2, "scores": {"click": 1, "buy": None}}, {"item_id": "b"}]
    request = decode_request(features_event("r-17", 5, items, user={"user_id": 7}), job.schema_)
    assert (request.request_id, request.ts_ms) == ("r-17", 5)
    assert [item.item_id for item in request.items] == ["3", "b"]
    assert request.items[0].scores == {"click": 1.0}
    features = extract(job.schema_, request.user, request.context, request.items[0].values)
    assert features == {"user_id": 7, "price": 2.0}


def test_an_action_is_read(action_event):
    action = decode_action(action_event("r", 3, "click", 5, value=2))
    assert (action.request_id, action.item_id, action.action, action.value, action.ts_ms) == (
        "r",
        "3",
        "click",
        2.0,
        5,
    )
    assert decode_action(action_event()).value == 1.0


def test_heartbeats_need_only_a_time(job):
    assert decode_request(b'{"ts": 5, "items": []}', job.schema_).items == ()
    assert decode_action(b'{"ts": 5, "action": ""}').action == ""


def test_absent_null_and_empty_values_are_left_out(job):
    user = {"user_id": None, "tags": [], "unknown": {"of": "the schema"}}
    assert extract(job.schema_, user, {}, {}) == {}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "`the event` is '[1]', not an object"),
        (b"{" * 5000, "not JSON"),
        (b'{"ts": 1}', "`items` is missing"),
        (b'{"ts": 1, "items": {}}', "`items` is '{}', not a list"),
        (b'{"items": []}', "`ts` is missing"),
        (b'{"ts": "1", "items": []}', "`ts` is '1', not an integer"),
        (b'{"ts": true, "items": []}', "`ts` is 'True', not an integer"),
        (b'{"ts": 1.5, "items": []}', "`ts` is '1.5', not an integer"),
        (b'{"ts": 1, "items": [{"item_id": 1}]}', "`request_id` is missing"),
        (b'{"ts": 1, "request_id": 7, "items": [{"item_id": 1}]}', "`request_id` is '7', not a string"),
        (b'{"ts": 1, "request_id": "r", "items": [7]}', "`items[0]` is '7', not an object"),
        (b'{"ts": 1, "request_id": "r", "items": [{}]}', "`items[0].item_id` is missing"),
        (b'{"ts": 1, "request_id": "r", "items": [{"item_id": 1.5}]}', "`items[0].item_id` is '1.5'"),
        (b'{"ts": 1, "request_id": "r", "user": 5, "items": []}', "`user` is '5', not an object"),
    ],
)
def test_a_request_that_is_not_as_documented_is_refused(job, data, sentence):
    with pytest.raises(MalformedEvent) as refusal:
        decode_request(data, job.schema_)
    assert refusal.value.reason == "malformed"
    assert sentence in refusal.value.detail


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"user": {"user_id": "7"}}, "`user_id` is '7', not an integer"),
        ({"user": {"user_id": 1.0}}, "`user_id` is '1.0', not an integer"),
        ({"user": {"user_id": True}}, "`user_id` is 'True', not an integer"),
        ({"user": {"user_id": 1 << 63}}, "integers end at"),
        ({"user": {"country": 49}}, "`country` is '49', not a string"),
        ({"user": {"tags": "one"}}, "`tags` is 'one', not a list"),
        ({"user": {"tags": ["one", 2]}}, "`tags` is '2', not a string"),
        ({"user": {"tags": ["one"] * 1025}}, "`tags` has 1025 values: lists end at 1024"),
        ({"items": [{"item_id": 1, "price": "9"}]}, "`price` is '9', not a number"),
        ({"items": [{"item_id": 1, "price": 1e39}]}, "32-bit floats"),
        ({"items": [{"item_id": 1, "scores": [1]}]}, "`scores` is '[1]', not an object"),
        ({"items": [{"item_id": 1, "scores": {"click": "x"}}]}, "`scores.click` is 'x', not a number"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_when_it_comes(job, features_event, changes, sentence):
    with pytest.raises(MalformedEvent, match="malformed") as refusal:
        decode_request(features_event(**changes), job.schema_)
    assert sentence in refusal.value.detail


@pytest.mark.parametrize(
    ("tags", "parents", "fits"), [(64, 64, True), (64, 65, False), (0, 1024, True), (1024, 5, False)]
)
def test_a_cross_of_lists_has_an_end(job, features_event, tags, parents, fits):
    crosses = {"both": {"of": ["tags", "parents"]}}
    schema = ExampleSchema.model_validate({**job.schema_.model_dump(by_alias=True), "crosses": crosses})
    items = [{"item_id": 1, "parents": []}, {"item_id": 2, "parents": [1] * parents}]
    event = features_event(user={"tags": ["x"] * tags}, items=items)
    if fits:
        assert len(decode_request(event, schema).items) == 2
    else:
        with pytest.raises(MalformedEvent, match=r"cross `both` has .* combinations: crosses end at 4096"):
            decode_request(event, schema)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"action": None}, "`action` is missing"),
        ({"action": 1}, "`action` is '1', not a string"),
        ({"item_id": None}, "`item_id` is missing"),
        ({"item_id": [1]}, "`item_id` is '[1]', not a string"),
        ({"value": "much"}, "`value` is 'much', not a number"),
        ({"request_id": None}, "`request_id` is missing"),
    ],
)
def test_an_action_that_is_not_as_documented_is_refused(action_event, changes, sentence):
    with pytest.raises(MalformedEvent) as refusal:
        decode_action(action_event(**changes))
    assert sentence in refusal.value.detail


@pytest.mark.parametrize(
    ("where", "event"),
    [("`request_id`", {"request_id": "é" * 513}), ("`items[1].item_id`", {"items": [1, "x" * 513]})],
)
def test_ids_of_requests_and_actions_have_512_characters_at_most(
    job, features_event, action_event, where, event
):
    with pytest.raises(MalformedEvent, match=f"too-large: {re.escape(where)} has 513 characters"):
        decode_request(features_event(**event), job.schema_)
    with pytest.raises(MalformedEvent, match="too-large"):
        decode_action(action_event(**({"item_id": "x" * 513} if "items" in event else event)))
    assert decode_request(features_event("é" * 512, items=["x" * 512]), job.schema_).items


@given(st.binary() | st.dictionaries(st.sampled_from(KEYS), JSON).map(orjson.dumps))
def test_whatever_comes_is_read_or_refused_and_nothing_else(job, data):
    for decode in (lambda: decode_request(data, job.schema_), lambda: decode_action(data)):
        with contextlib.suppress(MalformedEvent):
            assert decode().ts_ms is not None


def test_a_value_that_is_nested_too_deeply_for_python_is_quoted():
    with pytest.raises(MalformedEvent) as refusal:
        decode_action(b'{"ts": ' + b'{"a": [' * 500 + b"]}" * 500 + b"}")
    assert refusal.value.detail.startswith("`ts` is \"{'a': [{'a': [")
    assert len(refusal.value.detail) < 130
