import asyncio
import itertools
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message

from jobs.spec import Job
from jobs.traffic import source as module
from jobs.traffic.paths import LOG_COLUMNS, BadPathError
from jobs.traffic.progress import TrafficMetrics
from jobs.traffic.source import Source, run_traffic
from pipelines.records import decode_action, decode_request

ROWS = 300
START_MS = 1_650_000_000_000


@pytest.fixture
def kuairand(tmp_path: Path) -> str:
    """A request a second, all of them clicked and viewed for 5 s."""
    log = {name: [1] * ROWS for name in LOG_COLUMNS}
    log["user_id"] = [row % 50 for row in range(ROWS)]
    log["video_id"] = [row % 70 for row in range(ROWS)]
    log["time_ms"] = [START_MS + 1000 * row for row in range(ROWS)]
    log["play_time_ms"] = [5000] * ROWS
    pq.write_table(pa.table(log), tmp_path / "impressions.parquet")
    pq.write_table(pa.table({"user_id": list(range(50))}), tmp_path / "users.parquet")
    videos = {"video_id": list(range(70)), "author_id": [7] * 70}
    pq.write_table(pa.table(videos), tmp_path / "videos.parquet")
    return str(tmp_path)


@pytest.fixture
def run_job(make_job: Callable[..., Job], replica: Any) -> Callable[..., Job]:
    """A job against the fake replica."""
    return lambda **traffic: make_job(traffic, serving={"addresses": [replica.address]})


def events(messages: list[Message]) -> list[dict[str, Any]]:
    """The events of a topic without heartbeats, by time."""
    decoded = [orjson.loads(message.value()) for message in messages]
    return sorted(
        (event for event in decoded if event.get("items") or event.get("action")),
        key=lambda event: event["ts"],
    )


def progress(run_dir: Path) -> dict[str, Any]:
    return orjson.loads((run_dir / "traffic.json").read_bytes())


def run_until(job: Job, run_dir: Path, enough: Callable[[], bool]) -> None:
    """Run a source until `enough`, then stop it as SIGTERM would."""

    async def run() -> None:
        stopping, metrics = asyncio.Event(), TrafficMetrics(None)
        running = asyncio.create_task(Source(job, run_dir, metrics, stopping, resume=False).run())
        async with asyncio.timeout(20):
            while not (enough() or running.done()):
                await asyncio.sleep(0.01)
        stopping.set()
        await running
        assert enough()

    asyncio.run(run())


def test_a_replay_at_full_speed_logs_every_row_with_its_scores(
    run_job: Callable[..., Job],
    kuairand: str,
    tmp_path: Path,
    read: Callable[[str], list[Message]],
    replica: Any,
) -> None:
    job = run_job(kind="replay", path=kuairand)
    run_traffic(job, tmp_path, resume=False)
    requests = events(read(job.kafka.topics.features))
    assert [event["ts"] for event in requests] == [START_MS + 1000 * row for row in range(ROWS)]
    assert all(item["scores"]["is_click"] > 0 for event in requests for item in event["items"])
    actions = events(read(job.kafka.topics.actions))
    assert sum(event["action"] == "click" for event in actions) == ROWS
    assert sum(event["action"] == "long_view" for event in actions) == ROWS
    told = progress(tmp_path)
    assert (told["requests"], told["impressions"], told["actions"]) == (ROWS, ROWS, 2 * ROWS)
    assert (told["done"], told["complete"], told["unscored"]) == (True, True, 0)


def test_the_model_is_frozen_exactly_at_half_of_the_rows(
    run_job: Callable[..., Job],
    kuairand: str,
    tmp_path: Path,
    read: Callable[[str], list[Message]],
    replica: Any,
) -> None:
    job = run_job(kind="replay", path=kuairand, freeze_after=0.5)
    run_traffic(job, tmp_path, resume=False)
    assert replica.frozen_after == ROWS // 2
    requests = events(read(job.kafka.topics.features))
    frozen = ["is_click@frozen" in item["scores"] for event in requests for item in event["items"]]
    assert frozen == [False] * (ROWS // 2) + [True] * (ROWS // 2)
    assert progress(tmp_path)["frozen"]["impressions"] == ROWS // 2


def test_every_partition_of_a_finished_run_is_past_the_last_window(
    run_job: Callable[..., Job], kuairand: str, tmp_path: Path, read: Callable[[str], list[Message]]
) -> None:
    job = run_job(kind="replay", path=kuairand, freeze_after=1)
    run_traffic(job, tmp_path, resume=False)
    last_ms = START_MS + 1000 * (ROWS - 1)
    for topic, decode in (
        (job.kafka.topics.features, lambda value: decode_request(value, job.schema_)),
        (job.kafka.topics.actions, decode_action),
    ):
        by_partition = itertools.groupby(read(topic), key=lambda message: message.partition())
        reached = {number: max(decode(each.value()).ts_ms for each in part) for number, part in by_partition}
        assert len(reached) == 4
        assert all(ts_ms > last_ms + 20_000 + 2000 for ts_ms in reached.values())


def test_partitions_are_in_event_order(
    run_job: Callable[..., Job], kuairand: str, tmp_path: Path, read: Callable[[str], list[Message]]
) -> None:
    job = run_job(kind="replay", path=kuairand)
    run_traffic(job, tmp_path, resume=False)
    for topic in (job.kafka.topics.features, job.kafka.topics.actions):
        for _, part in itertools.groupby(read(topic), key=lambda message: message.partition()):
            times = [orjson.loads(message.value())["ts"] for message in part]
            assert times == sorted(times)


def test_a_replay_that_was_stopped_goes_on_where_it_was(
    run_job: Callable[..., Job],
    kuairand: str,
    tmp_path: Path,
    read: Callable[[str], list[Message]],
    replica: Any,
) -> None:
    job = run_job(kind="replay", path=kuairand)
    run_until(job, tmp_path, enough=lambda: len(replica.questions) > 50)
    stopped = progress(tmp_path)
    assert 50 < stopped["requests"] < ROWS
    assert (stopped["done"], stopped["complete"]) == (True, False)
    run_traffic(job, tmp_path, resume=True)
    requests = [event["request_id"] for event in events(read(job.kafka.topics.features))]
    assert len(requests) == len(set(requests)) == ROWS
    actions = {(event["request_id"], event["action"]) for event in events(read(job.kafka.topics.actions))}
    assert len(actions) == 2 * ROWS
    assert progress(tmp_path)["requests"] == ROWS


def test_a_replay_that_is_complete_is_not_written_again(
    run_job: Callable[..., Job], kuairand: str, tmp_path: Path, read: Callable[[str], list[Message]]
) -> None:
    job = run_job(kind="replay", path=kuairand)
    run_traffic(job, tmp_path, resume=False)
    run_traffic(job, tmp_path, resume=True)
    assert len(events(read(job.kafka.topics.features))) == ROWS
    run_traffic(job, tmp_path, resume=False)
    assert len(events(read(job.kafka.topics.features))) == 2 * ROWS


def test_a_replay_does_not_go_on_in_other_data(
    run_job: Callable[..., Job], kuairand: str, tmp_path: Path, replica: Any
) -> None:
    job = run_job(kind="replay", path=kuairand)
    run_until(job, tmp_path, enough=lambda: len(replica.questions) > 50)
    told = progress(tmp_path)
    (tmp_path / "traffic.json").write_bytes(orjson.dumps({**told, "impressions_total": ROWS + 1}))
    with pytest.raises(BadPathError, match=f"with {ROWS + 1} impressions before"):
        run_traffic(job, tmp_path, resume=True)


def test_a_timed_replay_takes_its_time(run_job: Callable[..., Job], kuairand: str, tmp_path: Path) -> None:
    job = run_job(kind="replay", path=kuairand, speed=300)
    began_s = time.monotonic()
    run_traffic(job, tmp_path, resume=False)
    assert time.monotonic() - began_s >= (ROWS - 1) / 300


def test_simulated_traffic_runs_until_it_is_stopped(
    make_job: Callable[..., Job],
    run_job: Callable[..., Job],
    tmp_path: Path,
    read: Callable[[str], list[Message]],
    replica: Any,
) -> None:
    job = run_job(kind="simulated", requests_per_s=200, freeze_after_s=0.2, action_delay_s=0.1)
    run_until(job, tmp_path, enough=lambda: len(replica.questions) > 150)
    requests = events(read(job.kafka.topics.features))
    assert len(requests) > 150
    assert replica.frozen_after is not None
    assert set(requests[-1]["items"][0]["scores"]) == {"is_click", "is_click@frozen", "is_click@best"}
    assert all(decode_request(orjson.dumps(event), job.schema_).items for event in requests)
    clicks = events(read(job.kafka.topics.actions))
    asked = {event["request_id"] for event in requests}
    assert clicks
    assert all(event["request_id"] in asked for event in clicks)
    assert progress(tmp_path)["complete"] is False


def test_traffic_goes_on_unscored_while_serving_is_away(
    run_job: Callable[..., Job],
    tmp_path: Path,
    read: Callable[[str], list[Message]],
    replica: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LIVE_PATIENCE_S", 0.1)
    replica.status = 503
    job = run_job(kind="simulated", requests_per_s=100)
    away_until = time.monotonic() + 0.5

    def enough() -> bool:
        if time.monotonic() > away_until:
            replica.status = 200
        return len(replica.questions) > 20

    run_until(job, tmp_path, enough)
    scored = ["is_click" in event["items"][0]["scores"] for event in events(read(job.kafka.topics.features))]
    assert not scored[0]
    assert scored[-1]
    told = progress(tmp_path)
    assert told["unscored"] == scored.count(False)
    assert "503" in told["last_error"]


def test_no_traffic_is_no_traffic(make_job: Callable[..., Job], tmp_path: Path) -> None:
    run_traffic(make_job({"kind": "none"}), tmp_path, resume=False)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_served_and_count() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    metrics = TrafficMetrics(address)
    metrics.count(requests=3, impressions=24, actions=2, unscored=1)
    metrics.count(requests=5, impressions=40, actions=2, unscored=1)
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    metrics.close()
    assert "freshet_traffic_requests_total 5.0" in lines
    assert "freshet_traffic_impressions_total 40.0" in lines
    assert "freshet_traffic_actions_total 2.0" in lines
    assert "freshet_traffic_unscored_total 1.0" in lines
    assert "# TYPE freshet_traffic_request_seconds histogram" in lines
