import pytest

from jobs.counters import Counters


def test_a_restarted_process_does_not_take_away_what_it_had_counted() -> None:
    counters = Counters()
    for value in (100, 150, 20, 30):
        counters.add("a", "examples", value)
    assert counters.total("examples") == 180


def test_rates_are_over_the_last_seconds_and_of_all_endpoints() -> None:
    counters = Counters()
    for second in range(20):
        counters.add("a", "examples", 10 * second)
        counters.add("b", "examples", 1000 + 5 * second)
        counters.tick(100.0 + second)
    assert counters.rate("examples") == pytest.approx(15.0)


def test_an_endpoint_that_comes_late_is_no_burst_of_events() -> None:
    counters = Counters()
    for second in range(3):
        counters.add("a", "examples", 10 * second)
        if second:
            counters.add("b", "examples", 1_000_000 + second)
        counters.tick(float(second))
    assert counters.rate("examples") == pytest.approx(11.0)


def test_a_rate_is_unknown_at_first_and_when_nobody_tells_it() -> None:
    counters = Counters()
    assert counters.rate("examples") is None
    counters.add("a", "examples", 1)
    counters.tick(1.0)
    assert counters.rate("examples") is None
    counters.add("a", "examples", 2)
    counters.tick(2.0)
    assert counters.rate("examples") == pytest.approx(1.0)
    counters.tick(3.0)
    assert counters.rate("examples") is None


def test_growth_is_seen_from_the_second_value_on() -> None:
    counters = Counters()
    counters.add("a", "examples", 7)
    counters.tick(1.0)
    assert "examples" not in counters.grew_s
    counters.add("a", "examples", 8)
    counters.tick(2.0)
    counters.add("a", "examples", 8)
    counters.tick(3.0)
    assert counters.grew_s["examples"] == 2.0
