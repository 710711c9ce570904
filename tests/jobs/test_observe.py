import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from jobs.joiner import WATERMARK
from jobs.observe import JOINS, STAGES, Observer
from jobs.screen import live_line
from jobs.spec import Job


@pytest.fixture
def observer(pretended: Any) -> Iterator[Observer]:
    pretended.write_roles()
    pretended.write_traffic()
    observer = Observer(pretended.job(), pretended.run_dir)
    yield observer
    observer.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds by which the observer's clock is ahead."""
    ahead, monotonic = [0.0], time.monotonic
    monkeypatch.setattr("jobs.observe.time.monotonic", lambda: monotonic() + ahead[0])
    return ahead


def test_one_look_tells_all_that_is_known_and_rates_come_with_the_second(
    pretended: Any, observer: Observer, clock: list[float]
) -> None:
    first = observer.observe()
    assert (first.auc, first.rmse) == ({"online": 0.71, "frozen": 0.62, "best": 0.79}, {})
    assert (first.freshness_p50_ms, first.freshness_p99_ms) == (1400.0, 2900.0)
    assert first.lag_s == {"joiner": 0.0, "trainer": 0.9, "ps": 0.4, "replica": 0.2}
    assert first.events_per_s == dict.fromkeys(STAGES)
    assert first.shards[1] == {"rows": 151, "memory_bytes": 1 << 20, "lookup_p99_ms": 2.5, "up": True}
    assert set(first.joins) == set(JOINS)
    assert first.alarms == []
    pretended.move(100)
    clock[0] += 2.0
    second = observer.observe()
    assert second.events_per_s["asked"] == pytest.approx(50.0, rel=0.2)
    assert second.joins_per_s["matched"] == pytest.approx(10.0, rel=0.2)
    assert second.joins["late"] == 2
    assert second.totals["learnt"] == 100


def test_of_a_label_that_is_a_number_the_error_is_told(pretended: Any) -> None:
    pretended.write_roles()
    pretended.rmse = {"served": 12.5, "frozen": 31.0}
    observer = Observer(pretended.job_of_a_number(), pretended.run_dir)
    seen = observer.observe()
    observer.close()
    assert (seen.auc, seen.rmse) == ({}, {"online": 12.5, "frozen": 31.0, "best": None})
    line = live_line(seen, {"seconds": 1.0})
    assert "RMSE 12.500" in line
    assert "AUC" not in line


def test_an_observation_is_json(observer: Observer) -> None:
    assert orjson.loads(orjson.dumps(dataclasses.asdict(observer.observe())))["run"]["job"] == "demo"


def test_nothing_there_is_no_error(pretended: Any) -> None:
    job = Job.model_validate_json(
        pretended.job().model_dump_json(by_alias=True).replace(pretended.address, "127.0.0.1:1")
    )
    observer = Observer(job, pretended.run_dir / "missing")
    seen = observer.observe()
    assert seen.auc == dict.fromkeys(("online", "frozen", "best"))
    assert seen.freshness_p99_ms is None
    assert [shard["up"] for shard in seen.shards] == [False, False]
    assert {part["state"] for part in seen.parts} == {"unreachable"}
    assert any("correct its address" in alarm for alarm in seen.alarms)
    observer.close()


def test_rubbish_from_every_endpoint_is_no_error(pretended: Any, observer: Observer) -> None:
    names = ("traffic", "taskmanager-0", "trainer-0", "replica-0", "ps-0", "ps-1")
    pretended.broken = {f"/{name}/metrics" for name in names} | {
        "/replica-0/v1/status",
        "/flink/jobs/overview",
    }
    (pretended.run_dir / "roles.json").write_text("[")
    assert observer.observe().auc["online"] is None


def test_a_part_that_is_down_is_an_alarm_with_its_remedy_and_its_log(
    pretended: Any, observer: Observer
) -> None:
    pretended.write_roles(ps_1={"state": "restarting", "error": "killed by signal 9"})
    seen = observer.observe()
    down = next(part for part in seen.parts if part["name"] == "ps-1")
    assert "Training waits for it" in down["remedy"]
    assert [part["name"] for part in seen.parts if part["remedy"]] == ["ps-1"]
    (alarm,) = seen.alarms
    assert "ps-1 went down (killed by signal 9)" in alarm
    assert "logs/ps-1.log" in alarm


def test_a_part_that_is_ready_but_does_not_answer_hangs(
    pretended: Any, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer.observe()
    pretended.silent = {"/trainer-0/metrics"}
    now = time.time
    monkeypatch.setattr("jobs.observe.time.time", lambda: now() + 6)
    (alarm,) = observer.observe().alarms
    assert "trainer-0 has not answered for 6 s" in alarm


@pytest.mark.parametrize(
    ("moving", "named"),
    [
        ((), "Traffic has written nothing"),
        (("asked", "read", "joined", "learnt", "published"), "Replicas score nothing"),
        (("asked", "served"), "The joiner reads nothing"),
        (("asked", "served", "read"), "The joiner joins nothing"),
        (("asked", "served", "read", "joined"), "The trainer learns nothing"),
        (("asked", "served", "read", "joined", "learnt"), "The shards publish no row"),
    ],
)
def test_the_first_stage_that_stands_still_is_named(
    pretended: Any, observer: Observer, clock: list[float], moving: tuple[str, ...], named: str
) -> None:
    observer.observe()
    for _ in range(2):
        pretended.move()
        clock[0] += 1
        assert observer.observe().alarms == []
    seen: list[str] = []
    for _ in range(12):
        clock[0] += 3
        if moving:
            pretended.move(stages=moving)
        seen = observer.observe().alarms
    (alarm,) = seen
    assert named in alarm
    pretended.move()
    clock[0] += 1
    assert observer.observe().alarms == []


def test_a_stage_has_time_to_begin_after_the_one_before_it(
    pretended: Any, observer: Observer, clock: list[float]
) -> None:
    observer.observe()
    for _ in range(8):
        clock[0] += 3
        pretended.move(stages=("asked", "served", "read"))
        assert observer.observe().alarms == []


def test_traffic_that_is_done_is_no_standstill(
    pretended: Any, observer: Observer, clock: list[float]
) -> None:
    pretended.write_traffic(done=True)
    observer.observe()
    clock[0] += 100
    assert observer.observe().alarms == []


def test_without_traffic_of_its_own_a_run_notices_that_no_events_come(
    pretended: Any, clock: list[float]
) -> None:
    pretended.write_roles()
    observer = Observer(pretended.job(traffic={"kind": "none"}), pretended.run_dir)
    observer.observe()
    clock[0] += 20
    (alarm,) = observer.observe().alarms
    assert "No event has come on topic `features`" in alarm
    pretended.move(stages=("malformed",))
    clock[0] += 1
    (alarm,) = observer.observe().alarms
    assert "every event that comes is dead" in alarm
    assert "topic `dead-letters`" in alarm
    pretended.move(stages=("read",))
    clock[0] += 1
    assert observer.observe().alarms == []
    observer.close()


def test_freshness_above_eight_seconds_names_the_stage_that_is_behind(
    pretended: Any, observer: Observer
) -> None:
    pretended.last_minute = {"count": 9, "p50_ms": 5000.0, "p99_ms": 9100.0}
    pretended.trainer_lag_s = 3.4
    (alarm,) = observer.observe().alarms
    assert "9.1 s" in alarm
    assert "The trainer is furthest behind (3.4 s)" in alarm
    pretended.write_traffic(started=time.time() - 20)
    assert observer.observe().alarms == []


def test_freshness_of_a_stall_that_is_over_is_no_alarm(pretended: Any, observer: Observer) -> None:
    pretended.last_minute = {"count": 9, "p50_ms": 5000.0, "p99_ms": 9100.0}
    pretended.trainer_lag_s = 0.4
    assert observer.observe().alarms == []


def test_a_replica_that_applies_nothing_is_an_alarm_with_its_reason_though_nothing_fresh_is_measured(
    pretended: Any, observer: Observer
) -> None:
    pretended.last_minute = {"count": 0, "p50_ms": None, "p99_ms": None}
    pretended.updates |= {"lag_s": 31.5, "last_error": "No space left on device"}
    (alarm,) = observer.observe().alarms
    assert (
        alarm == "replica-0 serves rows that are 32 s behind the shards'. It says: No space left on device."
    )
    pretended.updates["caught_up"] = False
    assert observer.observe().alarms == []


def test_checkpoints_that_fail_are_told_until_one_succeeds(pretended: Any, observer: Observer) -> None:
    failed = {"failure_timestamp": (time.time() - 12) * 1000, "failure_message": "No space left on device"}
    pretended.checkpoints = {"latest": {"failed": failed, "completed": None}}
    observer.observe()
    (alarm,) = observer.observe().alarms
    assert "No space left on device" in alarm
    pretended.checkpoints["latest"]["completed"] = {"latest_ack_timestamp": time.time() * 1000 + 1}
    assert observer.observe().alarms == []


def test_checkpoints_that_do_not_end_are_told_of_a_job_that_runs(pretended: Any, observer: Observer) -> None:
    completed = {"latest_ack_timestamp": (time.time() - 60) * 1000}
    pretended.checkpoints = {"latest": {"failed": None, "completed": completed}}
    observer.observe()
    assert observer.observe().alarms == []
    completed["latest_ack_timestamp"] -= 15_000
    (alarm,) = observer.observe().alarms
    assert "newest checkpoint is 75 s old, with one due every 1 s" in alarm
    pretended.flink_state = "FINISHED"
    assert observer.observe().alarms == []


def test_the_joiner_tells_what_waits_in_all_its_subtasks_and_its_slowest_event_time(
    pretended: Any, observer: Observer
) -> None:
    assert observer.observe().joiner.watermark_lag_s is None
    now_ms = time.time() * 1000
    pretended.join = [
        {"freshet_joiner_waiting_requests": 3, "freshet_joiner_waiting_bytes": 900, WATERMARK: now_ms - 2000},
        {"freshet_joiner_waiting_requests": 4, "freshet_joiner_waiting_bytes": 100, WATERMARK: now_ms - 5000},
    ]
    completed = {"latest_ack_timestamp": now_ms - 700, "state_size": 5000, "end_to_end_duration": 130}
    pretended.checkpoints = {"latest": {"completed": completed}}
    joiner = observer.observe().joiner
    assert (joiner.state, joiner.waiting_requests, joiner.waiting_bytes) == ("RUNNING", 7, 1000)
    assert joiner.pool_items is None
    assert joiner.watermark_lag_s == pytest.approx(5.0, abs=1.0)
    assert joiner.checkpoint_age_s == pytest.approx(0.7, abs=1.0)
    assert (joiner.checkpoint_bytes, joiner.checkpoint_s) == (5000, 0.13)


@pytest.mark.parametrize("nothing", [-(2.0**63), 2.0**63])
def test_before_the_first_event_and_after_the_last_there_is_no_event_time(
    pretended: Any, observer: Observer, nothing: float
) -> None:
    pretended.join = [{WATERMARK: nothing}]
    assert observer.observe().joiner.watermark_lag_s is None


def test_event_time_that_stands_still_while_events_are_read_is_an_alarm(
    pretended: Any, observer: Observer, clock: list[float]
) -> None:
    pretended.join = [{WATERMARK: 1e12}]
    for _ in range(10):
        observer.observe()
        pretended.move()
        clock[0] += 10
    (alarm,) = observer.observe().alarms
    assert "Event time stands still: it has moved 0 s in 90 s though events are read" in alarm
    pretended.join = [{WATERMARK: 1e12 + 10_000}]
    assert observer.observe().alarms == []


@pytest.mark.parametrize(
    ("state", "age_s", "told"),
    [
        ("running", 30, "30 s old"),
        ("stopping", 0, "is ending"),
        ("stopped", 0, "has ended"),
        ("failed", 0, "--resume"),
    ],
)
def test_a_run_that_is_over_explains_everything_else(
    pretended: Any, observer: Observer, state: str, age_s: float, told: str
) -> None:
    pretended.write_roles(state, updated=time.time() - age_s, ps_0={"state": "failed"})
    (alarm,) = observer.observe().alarms
    assert told in alarm
