import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.schema import ExampleSchema
from serving.requests import RefusedError, RequestReader

TAGS = "a list of at most 1024 values, each of it a string"


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
        (b'{"items": [{"item_id": 1, "tags": "x"}]}', 422, "items[0].tags", TAGS),
        (b'{"items": [{"item_id": 1, "tags": [1]}]}', 422, "items[0].tags", TAGS),
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
        (orjson.dumps({"items": [{"item_id": 1, "tags": ["x"] * 1025}]}), 422, "items[0].tags", TAGS),
    ],
)
def test_a_bad_request_is_told_what_where_and_what_would_be_right(reader, body, status, where, expected):
    with pytest.raises(RefusedError) as refused:
        reader.read(body)
    assert refused.value.status == status
    assert refused.value.content == {"error": str(refused.value), "where": where, "expected": expected}
    assert refused.value.content["error"]


def of_lists(max_items: int = 4096, **crosses: list[str]) -> RequestReader:
    features = {
        "liked": {"from": "user.liked", "many": True},
        "words": {"from": "user.words", "type": "string", "many": True},
        "item_id": {"from": "item.item_id"},
        "tags": {"from": "item.tags", "many": True},
    }
    block = {"features": features, "crosses": {name: {"of": of} for name, of in crosses.items()}}
    return RequestReader(
        ExampleSchema.model_validate(block | {"labels": {"click": {"action": "click"}}}), max_items
    )


def request(items: int, liked: int = 0, words: int = 0, tags: int = 0) -> bytes:
    user = {"liked": [1] * liked, "words": ["x"] * words}
    return orjson.dumps({"user": user, "items": [{"item_id": 1, "tags": [1] * tags}] * items})


@pytest.mark.parametrize(
    ("lengths", "values"),
    [
        ({"items": 0, "liked": 9}, 0),
        ({"items": 3}, 3 * (1 + 1 + 1 + 1 + 1)),
        ({"items": 3, "liked": 5, "words": 2, "tags": 4}, 3 * (5 + 2 + 4 + 10 + 20)),
    ],
)
def test_each_item_counts_the_values_of_lists_and_crosses(lengths, values):
    reader = of_lists(liked_words=["liked", "words"], liked_tags=["liked", "item_id", "tags"])
    assert reader.count_values(reader.read(request(**lengths))) == values


@pytest.mark.parametrize(
    ("crosses", "lengths", "error", "where"),
    [
        ({}, {"items": 2048, "liked": 1024}, "come to 2101248 values over all items", "items"),
        ({}, {"items": 2048, "tags": 1024}, "come to 2101248 values over all items", "items"),
        (
            {"both": ["liked", "words"]},
            {"items": 1, "liked": 64, "words": 65},
            "4160 combinations",
            "items[0]",
        ),
    ],
)
def test_a_short_request_that_would_take_much_memory_is_refused(crosses, lengths, error, where):
    reader = of_lists(**crosses)
    with pytest.raises(RefusedError, match=error) as refused:
        reader.count_values(reader.read(request(**lengths)))
    assert (refused.value.status, refused.value.content["where"]) == (422, where)
    assert "at most" in refused.value.content["expected"]


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
