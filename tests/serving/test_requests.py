import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.requests import RefusedError, RequestReader


@pytest.fixture(scope="module")
def reader(fake) -> RequestReader:
    return RequestReader(fake.SCHEMA, max_items=3)


def test_a_good_request_is_read_as_it_is(reader):
    request = {
        "request_id": "r",
        "user": {"user_id": -(2**63), "more": [1]},
        "context": None,
        "items": [{"item_id": 6, "tags": ["x"], "price": 3}, {"item_id": 7, "tags": [], "price": None}],
    }
    assert reader.read(orjson.dumps(request)) == {**request, "context": {}}
    assert reader.read(b'{"items": []}') == {"items": [], "user": {}, "context": {}}


@pytest.mark.parametrize(
    ("body", "status", "where", "expected"),
    [
        (b"", 400, "body", "a JSON object with `items`"),
        (b"{", 400, "body", "a JSON object with `items`"),
        (b'{"items": [NaN]}', 400, "body", "a JSON object with `items`"),
        (b"\xff", 400, "body", "a JSON object with `items`"),
        (b"[" * 5000, 400, "body", "a JSON object with `items`"),
        (b"[]", 422, "body", "a JSON object with `items`"),
        (b"{}", 422, "items", "a list of objects, each with `item_id`"),
        (b'{"items": {}}', 422, "items", "a list of objects, each with `item_id`"),
        (b'{"items": [1]}', 422, "items[0]", "an object"),
        (b'{"items": [{}]}', 422, "items[0].item_id", "an integer or a string"),
        (b'{"items": [{"item_id": 1}, {"item_id": true}]}', 422, "items[1].item_id", "an integer of 64 bits"),
        (b'{"items": [{"item_id": 1e30}]}', 422, "items[0].item_id", "an integer of 64 bits"),
        (b'{"items": [{"item_id": 9223372036854775808}]}', 422, "items[0].item_id", "an integer of 64 bits"),
        (b'{"items": [{"item_id": 1, "tags": "x"}]}', 422, "items[0].tags", "a list, each of it a string"),
        (b'{"items": [{"item_id": 1, "tags": [1]}]}', 422, "items[0].tags", "a list, each of it a string"),
        (
            b'{"items": [{"item_id": 1, "price": 1e39}]}',
            422,
            "items[0].price",
            "a number that a float32 can hold",
        ),
        (b'{"items": [], "user": 1}', 422, "user", "an object"),
        (b'{"items": [], "context": []}', 422, "context", "an object"),
        (b'{"items": [], "user": {"user_id": "7"}}', 422, "user.user_id", "an integer of 64 bits"),
        (b'{"items": [], "request_id": 7}', 422, "request_id", "a string"),
        (orjson.dumps({"items": [{"item_id": 1}] * 4}), 422, "items", "at most 3 items"),
    ],
)
def test_a_bad_request_is_told_what_where_and_what_would_be_right(reader, body, status, where, expected):
    with pytest.raises(RefusedError) as refused:
        reader.read(body)
    assert refused.value.status == status
    assert refused.value.content == {"error": str(refused.value), "where": where, "expected": expected}
    assert refused.value.content["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["items", "user", "item_id", "user_id", "tags", "price"]), inner)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=30) | JSON.map(orjson.dumps))
def test_whatever_comes_is_read_or_refused(reader, body):
    try:
        request = reader.read(body)
    except RefusedError:
        return
    assert isinstance(request["items"], list)
