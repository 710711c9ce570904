from hypothesis import given
from hypothesis import strategies as st

from jobs.alarms import SLOWEST_TIME, STANDSTILL_S, EventTime

IDLE_S = 30.0
PATIENCE_S = STANDSTILL_S + IDLE_S


def watch(looks: list[tuple[float, float, float]]) -> list[str | None]:
    """What is said at each (time, event time, records read)."""
    event_time = EventTime(IDLE_S)
    return [event_time.check(1000 * at_s, read, now_s) for now_s, at_s, read in looks]


@given(st.floats(2 * SLOWEST_TIME, 1000.0), st.integers(1, 100))
def test_event_time_that_moves_is_no_alarm(pace: float, per_s: int) -> None:
    assert not any(watch([(float(t), pace * t, float(per_s * t)) for t in range(300)]))


@given(st.floats(0.0, SLOWEST_TIME / 2), st.integers(1, 100))
def test_event_time_that_nearly_stands_is_one_as_soon_as_it_has_done_so_for_long(
    pace: float, per_s: int
) -> None:
    said = watch([(float(t), pace * t, float(per_s * t)) for t in range(300)])
    assert [t for t, told in enumerate(said) if told] == list(range(round(PATIENCE_S), 300))


def test_without_events_it_may_stand() -> None:
    assert not any(watch([(float(t), 5.0, 7.0) for t in range(300)]))


def test_a_rare_event_has_time_to_move_it() -> None:
    """One event in two minutes, seen as read a look before event time has followed it."""
    looks = [(float(t), 120.0 * ((t - 1) // 120), float(t // 120)) for t in range(1, 900)]
    assert not any(watch(looks))


def test_a_job_that_has_gone_back_begins_anew() -> None:
    stands = [(float(t), 500.0, float(t)) for t in range(60)]
    restored = [(float(t), 400.0, float(t)) for t in range(60, 60 + round(PATIENCE_S))]
    assert not any(watch(stands + restored))
