"""The Java engine takes what the Python one takes, refuses what it refuses, and says the same of it."""

from functools import cache
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.join.intake import Arrival, Intake
from pipelines.records import Action, MalformedEvent
from pipelines.settings import JoinJob
from tests.pipelines.conftest import JOB
from tests.pipelines.join.conftest import NOW_MS
from tests.pipelines.join.jvm import FOREVER_MS, JvmEngine, as_json, harness

TOKENS = [
    *(
        "",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        " ",
        "\n",
        "\t",
        "\0",
        "\x1f",
        "\x7f",
        "\ufeff",
        "/*x*/",
        "'",
    ),
    *("null", "true", "false", "nul", "NaN", "Infinity", "None", '""', '"a"', '"é"', '"😀"', '"\u2028\xa0"'),
    *(
        "0",
        "-0",
        "00",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1.5",
        "-2.5e-3",
        "1E5",
        "1e",
        "1e400",
        "-1e400",
        "5e-324",
    ),
    *("1e15", "1e16", "123456789012345678", "9007199254740993", "0.1", "1.7976931348623157e308", "3.5e38"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551615"),
    *("18446744073709551616", "123456789012345678901234567890", "2.2250738585072014e-308", "1e-7", "0.0001"),
    *(
        '"\\ud800"',
        '"\\udc00"',
        '"\\ud83d\\ude00"',
        '"\\u00e9"',
        '"\\n\\/\\b\\\\"',
        '"\\x"',
        '"\\u12"',
        '"it\'s"',
    ),
    *("[1, 2.5, [], {}]", '{"a": 1, "b": {"a": null}, "a": 2}', '{"scores": {"x": 1, "y": null, "x": 2.5}}'),
    *("[" * depth + "]" * depth for depth in (60, 253, 254, 255, 300, 1022, 1030)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (100, 260, 1030)),
    *("x" * 513, '"' + "😀" * 513 + '"', '"' + "x" * 600 + '"', str(NOW_MS), str(NOW_MS + 700_000)),
    *(
        '"user_id"',
        '"country"',
        '"tags"',
        '"price"',
        '"parents"',
        '"scores"',
        '"item_id"',
        '"ts"',
        '"action"',
    ),
]
EVENTS = [
    orjson.dumps(event).decode()
    for event in (
        {
            "request_id": "r-17",
            "ts": NOW_MS,
            "user": {"user_id": 7, "country": "de", "tags": ["a", "é", "c"]},
            "context": {"hour": 3, "more": {"deep": [1, {"er": None}]}},
            "items": [
                {"item_id": 3, "price": 2.5, "parents": [1, 2], "scores": {"click": 0.5, "buy": 1}},
                {"item_id": "b", "price": 1, "parents": [], "scores": None},
            ],
        },
        {"request_id": "r", "item_id": 3, "action": "click", "ts": NOW_MS, "value": 2},
        {"ts": NOW_MS, "items": [], "action": ""},
        {"request_id": "r", "ts": NOW_MS, "user": None, "items": [{"item_id": 1}, {"item_id": "1"}]},
    )
]
CUTS = st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(TOKENS))
INSERTS = st.tuples(
    st.sampled_from(['"ts":', '"user":', '"value":', '"price":', '"tags":', '"item_id":', "["]), CUTS
)


def cut(text: str, cuts: list[tuple[float, int, str]]) -> str:
    for place, length, token in cuts:
        start = int(place * len(text))
        text = text[:start] + token + text[start + length :]
    return text


def put(text: str, inserts: list[tuple[str, Any]]) -> str:
    """Puts tokens where values stand: most of what comes of it is JSON."""
    for key, (_, _, token) in inserts:
        head, found, tail = text.partition(key)
        if found:
            text = head + key + token + "," + ('"x":' if key != "[" else "") + tail
    return text


TEXTS = st.sampled_from(EVENTS + TOKENS)
DOCUMENTS = st.builds(
    cut, st.builds(put, TEXTS, st.lists(INSERTS, max_size=3)), st.lists(CUTS, max_size=2)
).map(str.encode) | st.builds(
    lambda data, place, more: data[: place % 99] + more + data[place % 99 :],
    TEXTS.map(str.encode),
    st.integers(0),
    st.binary(max_size=4),
)


def in_python(data: bytes) -> dict[str, Any]:
    """What the harness is to say of a document."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return {"problem": str(error)}
    try:
        return {"bytes": len(orjson.dumps(value))}
    except orjson.JSONEncodeError:
        return {"reason": "malformed", "detail": "`user`, `context` or an item is nested too deeply"}


@given(DOCUMENTS)
def test_a_document_is_json_to_both_or_wrong_at_the_same_place(data):
    assert harness().call("json", data=data) == in_python(data)


@cache
def engine() -> tuple[Intake, JvmEngine, int]:
    """The join of a job with a cross of lists."""
    schema = {**JOB["schema"], "crosses": {"both": {"of": ["tags", "parents"]}}}
    kafka = {**JOB["kafka"], "max_message_bytes": 1 << 16}
    job = JoinJob.model_validate({**JOB, "kafka": kafka, "schema": schema})
    number = harness().call("job", settings=job.model_dump_json(by_alias=True))["job"]
    return Intake(job), JvmEngine(job), number


@given(DOCUMENTS, st.booleans(), st.sampled_from([0, NOW_MS, NOW_MS - 700_000]))
def test_an_event_is_taken_by_both_or_refused_with_the_same_sentence(data, is_action, logged_ts_ms):
    intake, join, job = engine()
    arrival = Arrival(is_action, b"k", data, 0, 1, logged_ts_ms)
    times = {"watermark": -FOREVER_MS, "now": NOW_MS, "read": NOW_MS}
    try:
        event = intake.read(arrival, NOW_MS)
    except MalformedEvent as refusal:
        answer = harness().call("event", job=job, state=None, arrival=as_json(arrival), **times)
        expected = {"reason": refusal.reason, "detail": refusal.detail}
    else:
        answer = expected = {}
    assert answer == expected
    if expected:
        return
    if isinstance(event, Action):
        if event.action:
            join.on_action(None, event, arrival, lambda: -FOREVER_MS, NOW_MS)
    elif event.items:
        step = join.on_features(None, event, arrival, -FOREVER_MS, NOW_MS)
        join.on_timer(step.state, FOREVER_MS, NOW_MS)


SECOND_MS = 1000
MAX_PAST_MS = 7 * 86_400 * SECOND_MS
TIMES = st.integers(NOW_MS - 700 * SECOND_MS, NOW_MS + 700 * SECOND_MS)


def believed(ts: Any, logged_ts_ms: int, now_ms: int, *, is_heartbeat: bool) -> int | None:
    """How far event time may follow an event, by the rules of `pipelines.topology`; too old ones never."""
    known_ms = min(logged_ts_ms, now_ms)
    is_credible = type(ts) is int and logged_ts_ms - MAX_PAST_MS <= ts <= known_ms + 600 * SECOND_MS
    if not is_credible:
        return None
    return ts if is_heartbeat else min(ts, known_ms + 2 * SECOND_MS)


@given(
    TIMES | st.sampled_from([0, -1, 1.5, "1", None, 1 << 62, (1 << 64) - 1]),
    TIMES,
    TIMES,
    st.booleans(),
    st.booleans(),
)
def test_event_time_follows_an_event_as_far_as_it_is_believed(
    ts, logged_ts_ms, now_ms, is_action, is_heartbeat
):
    intake, _, job = engine()
    event = {"request_id": "r", "ts": ts, "item_id": 1, "action": "click", "items": [{"item_id": 1}]}
    if is_heartbeat:
        event |= {"action": "", "items": []}
    arrival = Arrival(is_action, None, orjson.dumps(event), 0, 7, logged_ts_ms)
    answer = harness().call("source", job=job, arrival=as_json(arrival), now=now_ms)
    expected = believed(ts, logged_ts_ms, now_ms, is_heartbeat=is_heartbeat)
    assert answer == {"id": "r", "event_time": -(1 << 63) if expected is None else expected}
    if expected is None:
        with pytest.raises(MalformedEvent):
            intake.read(arrival, now_ms)


def watermarks(*moments):
    """What a partition says at moments of (clock, time of an event), or of (clock,) when it is asked."""
    return harness().call("watermarks", out_of_order=10, idle=1000, moments=moments)["output"]


def test_a_partition_that_gets_only_events_without_a_believed_time_becomes_idle():
    garbage = [(at, None) for at in range(0, 1000, 10)]
    assert watermarks(*garbage, (999,), (999, None), (1000,), (1000, None), (1200,)) == ["idle", "idle"]
    late = [(900,), (1899, None), (1899,), (1899, None), (1900,)]
    assert watermarks((0, 500), *garbage[1:], *late) == [490, "idle"]


def test_a_believed_time_makes_an_idle_partition_speak_again_even_if_it_is_no_later():
    moments = [(0, 500), (0,), (1000,), (1001, 400), (1001,), (2000,), (2001,)]
    assert watermarks(*moments) == [490, "idle", 490, "idle"]


@pytest.mark.parametrize(
    "data", [None, b"", b"[]", b"{", b'{"ts": 1}', b'{"request_id": 7}', b'{"request_id": null}', b" " * 5000]
)
def test_a_record_without_a_request_id_has_no_business_with_others(data):
    arrival = Arrival(False, b"r", data, 0, 1234, 0)
    answer = harness().call("source", job=engine()[2], arrival=as_json(arrival), now=0)
    assert answer["id"] == "-1234"
