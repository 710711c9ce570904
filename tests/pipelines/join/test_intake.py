"""Size and time of what arrives."""

import pytest

from pipelines.join.intake import Arrival, Intake
from pipelines.records import MalformedEvent

NOW_MS = 1_764_000_000_000
DAY_MS, SECOND_MS = 86_400_000, 1000


@pytest.fixture(scope="module")
def intake(job) -> Intake:
    return Intake(job)


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
