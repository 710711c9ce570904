"""Size and time of what arrives."""

import pytest

from pipelines.codec import GROWTH, encode_example
from pipelines.join.intake import Arrival, Intake
from pipelines.records import MalformedEvent
from pipelines.settings import JoinJob

NOW_MS = 1_764_000_000_000
DAY_MS, SECOND_MS = 86_400_000, 1000
NESTED = b'{"x":' * 300 + b"1" + b"}" * 300


@pytest.fixture(scope="module")
def intake(job) -> Intake:
    return Intake(job)


def arrival_of(value, logged_ts_ms=0) -> Arrival:
    return Arrival(False, None, value, 0, 0, logged_ts_ms)


def refusal_of(intake, value, logged_ts_ms=NOW_MS) -> str:
    with pytest.raises(MalformedEvent) as refusal:
        intake.read(Arrival(False, None, value, 0, 0, logged_ts_ms), NOW_MS)
    return refusal.value.reason


def test_a_record_without_a_value_is_malformed(intake):
    assert refusal_of(intake, None) == "malformed"


def test_a_longer_event_than_allowed_is_too_large_whatever_it_says(intake):
    assert refusal_of(intake, b" " * 4097) == "too-large"
    assert refusal_of(intake, b" " * 4096) == "malformed"


@pytest.mark.parametrize(
    "ts_ms", [0, NOW_MS - 7 * DAY_MS - 1, NOW_MS + 600 * SECOND_MS + 1, 4_102_444_800_000, 1 << 62]
)
def test_a_time_far_from_that_of_the_record_is_refused(intake, features_event, ts_ms):
    assert refusal_of(intake, features_event(ts_ms=ts_ms)) == "timestamp"


@pytest.mark.parametrize("ts_ms", [NOW_MS - 7 * DAY_MS, NOW_MS, NOW_MS + 600 * SECOND_MS])
def test_a_time_within_the_bounds_is_taken(intake, features_event, ts_ms):
    assert intake.read(Arrival(False, None, features_event(ts_ms=ts_ms), 0, 0, NOW_MS), NOW_MS).ts_ms == ts_ms


def test_a_record_and_event_that_are_both_far_ahead_of_the_clock_are_refused(intake, features_event):
    ahead_ms = NOW_MS + DAY_MS
    assert refusal_of(intake, features_event(ts_ms=ahead_ms), logged_ts_ms=ahead_ms) == "timestamp"


def test_old_events_with_old_record_times_are_taken(intake, features_event):
    assert intake.read(Arrival(False, None, features_event(ts_ms=5), 0, 0, 5), NOW_MS).ts_ms == 5


def test_a_short_event_with_long_examples_is_too_large(intake, features_event):
    country = "x" * 3000
    assert intake.read(arrival_of(features_event(items=range(20), user={"country": country})), 0)
    event = features_event(items=range(25), user={"country": country})
    assert refusal_of(intake, event, logged_ts_ms=0) == "too-large"


@pytest.mark.parametrize("origin", ["user", "context"])
def test_an_event_that_is_nested_too_deeply_is_malformed(intake, features_event, origin):
    name = f'"{origin}":'.encode()
    value = features_event().replace(name + b"{}", name + NESTED)
    with pytest.raises(MalformedEvent, match="nested too deeply"):
        intake.read(arrival_of(value), NOW_MS)


def test_an_example_that_fits_into_no_message_is_too_large(job, features_event):
    # Three features read one key: each of them brings its bytes into the example.
    schema = job.schema_.model_dump(by_alias=True)
    schema["features"] |= {f"country{n}": schema["features"]["country"] for n in range(2)}
    settings = {
        "schema": schema,
        "kafka": {"max_message_bytes": 1 << 16},
        "joiner": {"max_event_bytes": 1 << 20},
    }
    narrow = Intake(JoinJob.model_validate({"name": "test", **settings}))
    items = [{"item_id": 1, "other": "x" * 1500}, {"item_id": 2}]
    assert narrow.read(arrival_of(features_event(items=items, user={"country": "x" * 500})), 0)
    items[1]["other"] = "x" * 2200
    assert refusal_of(narrow, features_event(items=items), logged_ts_ms=0) == "too-large"


@pytest.mark.parametrize(
    "request_parts",
    [
        {"user": {"country": "x" * 3000}},
        {"user": {"tags": [""] * 1000}},
        {"user": {"tags": ["a"] * 900}},
        {"items": [{"item_id": 1, "parents": [-1] * 1000}]},
        {"items": [{"item_id": 1, "scores": {"": 1}}]},
        {"items": [{"item_id": 1, "scores": {chr(65 + n % 26) * (n // 26): 1 for n in range(200)}}]},
        {"items": [{"item_id": "\U0001f600" * 500}]},
    ],
)
def test_examples_are_no_longer_than_their_growth_foresees(make_cluster, features_event, request_parts):
    value = features_event(**request_parts)
    cluster = make_cluster()
    cluster.send(value)
    cluster.finish()
    names_bytes = 2048
    assert all(len(encode_example(each)) <= GROWTH * len(value) + names_bytes for each in cluster.examples)
    assert cluster.examples
