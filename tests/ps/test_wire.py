import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ps import wire
from ps.metrics import ShardMetrics
from ps.push import Push, Span
from ps.service import ShardService
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import Shard

PUSH = Push(
    spans=(Span(0, 5, 9), Span(3, 0, 1)),
    tables={
        "user": (np.array([1, -7, 2**62]), np.arange(9, dtype=np.float32).reshape(3, 3)),
        "ü": (np.array([], np.int64), np.empty((0, 2), np.float32)),
    },
    dense={"w": np.ones((2, 2), np.float32), "b": np.array(3, np.float32)},
    event_ts_ms=1764000000000,
    samples=[(0, 6, 1764000000001)],
)


def same(a: Push, b: Push) -> bool:
    return (
        a.spans == b.spans
        and list(a.tables) == list(b.tables)
        and all(np.array_equal(x, y) for t in a.tables for x, y in zip(a.tables[t], b.tables[t], strict=True))
        and all(np.array_equal(a.dense[n], b.dense[n]) for n in a.dense)
        and (a.event_ts_ms, list(a.samples)) == (b.event_ts_ms, list(b.samples))
    )


def test_a_push_arrives_as_it_was_sent():
    header, body = wire.decode(wire.encode_push(PUSH, 42))
    assert isinstance(header, wire.PushHeader)
    assert header.epoch == 42
    assert same(wire.read_push(header, body), PUSH)


def test_arrays_are_aligned_whatever_the_buffer():
    frame = wire.encode_push(PUSH, 42).tobytes()
    for shift in range(1, 8):
        shifted = np.frombuffer(b"x" * shift + frame, np.uint8)[shift:]
        push = wire.read_push(*wire.decode(shifted))
        assert all(array.flags.aligned for pair in push.tables.values() for array in pair)
        assert same(push, PUSH)


def frame_of(header: dict, body: bytes = b"") -> bytes:
    text = orjson.dumps(header)
    padding = -(4 + len(text)) % 8
    return len(text).to_bytes(4, "little") + text + b"\0" * padding + body


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "a frame of 0 bytes"),
        (b"\xff\xff\xff\xff", "a header of 4294967295 bytes"),
        (b"\x02\0\0\0{}", "the header is wrong"),
        (frame_of({"op": "drop"}), "the header is wrong"),
        (frame_of({"op": "pull", "tables": [["user", -1]]}), r"pull.tables.0.1: Input should be greater"),
        (frame_of({"op": "pull", "tables": [["", 1]]}), r"pull.tables.0.0: String should have at least 1"),
        (frame_of({"op": "pull", "tables": [], "more": 1}), "pull.more: Extra inputs"),
        (frame_of({"op": "pull", "tables": "user"}), "pull.tables: Input should be a valid array"),
    ],
)
def test_a_wrong_frame_is_refused_with_what_is_wrong(frame, message):
    with pytest.raises(wire.WireError, match=message):
        wire.decode(frame)


def push_frame(body: bytes, **fields: object) -> bytes:
    header = {"op": "push", "epoch": 1, "spans": [[0, 0, 1]], "tables": [], "dense": []}
    return frame_of(header | {"event_ts_ms": 0, "samples": []} | fields, body)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (push_frame(b"123"), "3 bytes more"),
        (push_frame(b"", tables=[["user", 1, 3]]), "8 bytes fewer"),
        (push_frame(b"\0" * 8, tables=[["user", 1, 3]]), "12 bytes fewer"),
        (push_frame(b"", tables=[["user", 0, 3], ["user", 0, 3]]), "names a table twice"),
        (push_frame(b"", dense=[["w", [0]], ["w", [0]]]), "names a dense tensor twice"),
        (push_frame(b"", dense=[["w", [1 << 25] * 8]]), "bytes fewer"),
    ],
)
def test_a_body_that_does_not_fit_its_header_is_refused(frame, message):
    header, body = wire.decode(frame)
    with pytest.raises(wire.WireError, match=message):
        wire.read_push(header, body)


def test_an_answer_can_be_too_long_to_be_made():
    with pytest.raises(wire.WireError, match="an answer or request of"):
        wire.reserve(wire.DoneHeader(), wire.MAX_BODY_BYTES + 1)


class Target:
    """The service's answering part, without a socket."""

    answer = ShardService.answer
    _answer, _pull, _push = ShardService._answer, ShardService._pull, ShardService._push

    def __init__(self) -> None:
        self._shard = Shard(0, 1, {"user": TableSettings(dim=3)}, OptimizerSettings(kind="adam"), 7)
        self._metrics = ShardMetrics(self._shard)
        self._epoch = 1


TARGET = Target()
SEEDS = [
    wire.encode_push(PUSH, 1).tobytes(),
    wire.encode_initialize({"w": np.full(3, np.nan, np.float32)}).tobytes(),
    wire.encode(wire.PullHeader(tables=[("user", 2)]), [np.array([1, 2])]).tobytes(),
    push_frame(b"\0" * 20, tables=[["user", 1, 3]], spans=[[0, 5, 5]]),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A frame with a few bytes changed, cut, or put in."""
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(frame) - 1))
        frame[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(frame[: draw(st.integers(1, len(frame)))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), damaged()))
def test_garbage_is_answered_and_changes_nothing(contents, frame):
    before = contents(TARGET._shard)
    header, _ = wire.decode(TARGET.answer(frame))
    if isinstance(header, wire.DoneHeader):  # the damage made another sound request
        return
    assert contents(TARGET._shard) == before
    assert isinstance(header, wire.RowsHeader | wire.ErrorHeader)
    if isinstance(header, wire.ErrorHeader):
        assert header.kind != "broken"
        assert header.message
