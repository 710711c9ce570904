"""Examples keep their bytes, and TensorFlow reads them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.codec import ExampleList, decode, encode
from pipelines.example_pb2 import Example as ExampleMessage
from pipelines.example_pb2 import ExampleList as ExampleListMessage
from pipelines.records import FLOAT32_MAX, INT64_MAX, Example

GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
INT64 = st.integers(-INT64_MAX - 1, INT64_MAX)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHARE = st.floats(2**-20, 1, width=32)
BY_LABEL = st.dictionaries(TEXT, FLOAT32, max_size=3)
VALUES = st.one_of(
    st.lists(INT64, min_size=1, max_size=4),
    st.lists(FLOAT32, min_size=1, max_size=4),
    st.lists(TEXT, min_size=1, max_size=4),
)
NAMES = TEXT.filter(
    lambda name: ":" not in name and not name.endswith(("ts", "_id", "rate", "probability", "_for"))
)
EXAMPLES = st.builds(
    Example,
    request_id=TEXT,
    item_id=TEXT,
    ts_ms=INT64,
    joined_ts_ms=INT64,
    action_ts_ms=INT64,
    action_logged_ts_ms=INT64,
    sampling_rate=FLOAT32,
    features=st.dictionaries(NAMES, VALUES, max_size=4),
    labels=BY_LABEL,
    masks=BY_LABEL,
    scores=BY_LABEL,
    was=BY_LABEL,
    otherwise=BY_LABEL,
)
DRAWN = st.builds(lambda one, p, item: replace(one, pool_probability=p, pool_for=item), EXAMPLES, SHARE, TEXT)
EXAMPLES_OF_ALL_KINDS = EXAMPLES | DRAWN
UINT32 = st.integers(0, (1 << 32) - 1)


def example(**changes) -> Example:
    fields = {
        "request_id": "r-17",
        "item_id": "3",
        "ts_ms": 1_764_000_000_000,
        "joined_ts_ms": 1_764_000_004_000,
        "action_ts_ms": 1_764_000_003_000,
        "action_logged_ts_ms": 1_764_000_003_005,
        "sampling_rate": 0.5,
        "features": {"user_id": 7, "negative": -1, "price": 1.5, "tags": ["a", "é"], "country": "DE"},
        "labels": {"click": 1.0, "buy": 0.0},
        "masks": {"click": 1.0, "buy": 0.0},
        "scores": {"click": 0.25, "click@frozen": 0.125},
    }
    return Example(**(fields | changes))


def encode_one(examples, *numbers) -> bytes:
    (message,) = encode(examples, *numbers)
    return message


@given(st.lists(EXAMPLES_OF_ALL_KINDS, max_size=3), UINT32, UINT32)
def test_what_is_written_is_read(examples, sampled_away, unlabelled):
    message = encode_one(examples, sampled_away, unlabelled)
    assert decode(message) == ExampleList(tuple(examples), sampled_away, unlabelled)


@given(st.lists(EXAMPLES_OF_ALL_KINDS, max_size=3), UINT32, UINT32)
def test_the_bytes_are_those_that_protobuf_writes(examples, sampled_away, unlabelled):
    message = ExampleListMessage.FromString(encode_one(examples, sampled_away, unlabelled))
    assert len(message.examples) == len(examples)
    assert message.SerializeToString() == encode_one(examples, sampled_away, unlabelled)
    for data in message.examples:
        assert len(ExampleMessage.FromString(data).SerializeToString()) == len(data)


@given(st.lists(EXAMPLES, max_size=8), UINT32, UINT32, st.integers(12, 2000))
def test_messages_keep_within_their_limit_and_together_are_the_one_without(
    examples, sampled_away, unlabelled, limit
):
    messages = list(encode(examples, sampled_away, unlabelled, limit))
    assert b"".join(messages) == encode_one(examples, sampled_away, unlabelled)
    lists = [decode(message) for message in messages]
    assert all(len(m) <= limit or len(one.examples) == 1 for m, one in zip(messages, lists, strict=True))
    assert [one.sampled_away for one in lists] == [0] * (len(lists) - 1) + [sampled_away]
    assert [one.unlabelled for one in lists] == [0] * (len(lists) - 1) + [unlabelled]


def test_bytes_of_version_1_stay_as_they_are():
    examples = [example(), example(item_id="b", features={})]
    assert encode_one(examples, 300) == (GOLDEN / "examples_v1.bin").read_bytes()


def test_bytes_of_corrections_of_numbers_and_of_drawn_negatives_stay_as_they_are():
    correction = example(was={"click": 0.0})
    number = example(labels={"rating": 3.5}, masks={"rating": 1.0}, otherwise={"rating": 1.0}, scores={})
    none = {"labels": {"click": 0.0}, "masks": {"click": 0.0}, "scores": {}}
    drawn = example(item_id="b", **none, action_ts_ms=0, pool_probability=0.125, pool_for="3")
    data = (GOLDEN / "examples_labels_v1.bin").read_bytes()
    assert encode_one([correction, number, drawn], 300, 70_000) == data
    assert decode(data).unlabelled == 70_000


def test_a_scalar_and_a_list_of_one_are_the_same_on_the_wire():
    assert encode_one([example(features={"a": 7})]) == encode_one([example(features={"a": [7]})])


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x02\x08\x01", b"\xff\xff"])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match="not a list of examples"):
        decode(data)


def test_tensorflow_reads_the_examples():
    tf = pytest.importorskip("tensorflow")
    data = encode_one([example(), example(item_id="b", features={"price": FLOAT32_MAX})], 1)
    parsed = tf.io.parse_example(
        tf.train.BytesList.FromString(data).value,
        {
            "user_id": tf.io.FixedLenFeature([], tf.int64, default_value=-5),
            "price": tf.io.FixedLenFeature([], tf.float32),
            "tags": tf.io.RaggedFeature(tf.string),
            "item_id": tf.io.FixedLenFeature([], tf.string),
            "label:click": tf.io.FixedLenFeature([], tf.float32),
            "mask:buy": tf.io.FixedLenFeature([], tf.float32),
            "score:click@frozen": tf.io.FixedLenFeature([], tf.float32),
            "sampling_rate": tf.io.FixedLenFeature([], tf.float32),
            "action_ts": tf.io.FixedLenFeature([], tf.int64),
        },
    )
    assert parsed["user_id"].numpy().tolist() == [7, -5]
    assert parsed["price"].numpy().tolist() == [1.5, FLOAT32_MAX]
    assert parsed["tags"].to_list() == [[b"a", "é".encode()], []]
    assert parsed["item_id"].numpy().tolist() == [b"3", b"b"]
    assert parsed["label:click"].numpy().tolist() == [1.0, 1.0]
    assert parsed["mask:buy"].numpy().tolist() == [0.0, 0.0]
    assert parsed["score:click@frozen"].numpy().tolist() == [0.125, 0.125]
    assert parsed["sampling_rate"].numpy().tolist() == [0.5, 0.5]
    assert parsed["action_ts"].numpy().tolist() == [1_764_000_003_000] * 2
