import pytest

from jobs.dashboard.history import COARSE_S, FINE_S, KEPT_S, History, flatten
from jobs.joiner import Joiner
from jobs.observe import JOINS, SCORES, STAGES, Observation


def seen(shards: int = 2, **changed: object) -> Observation:
    told = {
        "at": 1000.0,
        "freshness_p50_ms": 1400.0,
        "freshness_p99_ms": None,
        "label": "click",
        "auc": dict.fromkeys(SCORES, 0.123456789),
        "rmse": {},
        "events_per_s": dict.fromkeys(STAGES, 10.0),
        "lag_s": dict.fromkeys(("joiner", "trainer", "ps", "replica"), 0.5),
        "joins": dict.fromkeys(JOINS, 1),
        "joins_per_s": dict.fromkeys(JOINS, 1.0),
        "joiner": Joiner("RUNNING", 7, 900, None, 2.0, 0.4, 0.1, 5000),
        "shards": [
            {"rows": 10 + i, "memory_bytes": 100, "lookup_p99_ms": 1.0 + i, "up": True} for i in range(shards)
        ],
        "parts": [],
        "alarms": [],
        "totals": {},
        "run": {},
        "traffic": {},
    }
    return Observation(**{**told, **changed})  # type: ignore[arg-type]


def test_a_look_becomes_a_row_of_numbers() -> None:
    point = flatten(seen())
    assert (point["freshness.p50"], point["freshness.p99"]) == (1.4, None)
    assert point["auc.online"] == 0.12346
    assert (point["rows.0"], point["rows.1"], point["lookup.1"]) == (10, 11, 2.0)
    assert (point["joiner.requests"], point["joiner.watermark"]) == (7, 2.0)
    assert point["join.dead"] == 2.0  # orphan and malformed


def test_of_a_label_that_is_a_number_the_error_is_kept() -> None:
    point = flatten(seen(auc={}, rmse={"online": 12.3456789}))
    assert point["rmse.online"] == 12.346
    assert "auc.online" not in point


def test_of_many_shards_sums_and_the_slowest_are_kept() -> None:
    point = flatten(seen(shards=20))
    assert (point["rows.all"], point["memory.all"], point["lookup.all"]) == (390, 2000, 20.0)
    assert "rows.0" not in point


def test_the_past_is_kept_for_half_an_hour_and_thinned_after_minutes() -> None:
    history = History()
    for second in range(4000):
        history.add({"at": 1e9 + second, "x": float(second % 5)})
    columns = history.columns()
    times = [at for at in columns["at"] if at is not None]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(KEPT_S, abs=2 * COARSE_S)
    assert len(times) == pytest.approx(FINE_S + (KEPT_S - FINE_S) / COARSE_S, abs=5)
    assert columns["x"][0] == 2.0  # the mean of 0, 1, 2, 3, 4


def test_columns_are_of_one_length_also_when_one_appears_later() -> None:
    history = History()
    history.add({"at": 1.0})
    history.add({"at": 2.0, "x": 5.0})
    assert history.columns() == {"at": [1.0, 2.0], "x": [None, 5.0]}
