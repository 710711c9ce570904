"""The benchmark of the joiner: its events are the same for all, and it prints what it documents."""

import json
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from benchmarks.join.stream import WINDOW_S, Phase, make_stream

ROOT = Path(__file__).parents[2]
FIGURES = (
    "events_per_s",
    "impressions_per_s",
    "cpu_s_per_million_events",
    "state_bytes_per_waiting_impression",
)


def test_a_request_is_the_same_as_one_event_and_as_one_event_per_item() -> None:
    stream = make_stream(4, [Phase(50, 40)], partitions=2)
    whole = list(stream.request_events(one_item=False))
    split = list(stream.request_events(one_item=True))
    assert len(split) == 4 * len(whole)
    for number, record in enumerate(whole):
        event = orjson.loads(record.value)
        parts = split[4 * number : 4 * number + 4]
        assert {part.partition for part in parts} == {record.partition}
        items = [orjson.loads(part.value).pop("items") for part in parts]
        assert [item for (item,) in items] == event["items"]
        assert all(orjson.loads(p.value) | {"items": 0} == event | {"items": 0} for p in parts)


def test_every_action_is_on_an_item_of_its_request_and_within_the_window() -> None:
    stream = make_stream(8, [Phase(500, 80), Phase(500, 800)], partitions=2)
    requests = {r.key: orjson.loads(r.value) for r in stream.request_events(one_item=False)}
    actions = [orjson.loads(r.value) for r in stream.action_events(0, len(stream.action_ts_ms))]
    assert 0.08 < len(actions) / (8 * 1000) < 0.12
    assert [a["ts"] for a in actions] == sorted(a["ts"] for a in actions)
    for action in actions:
        request = requests[action["request_id"].encode()]
        assert action["item_id"] in [item["item_id"] for item in request["items"]]
        assert 0 <= action["ts"] - request["ts"] < WINDOW_S * 1000


def test_so_many_impressions_wait_as_the_phase_says() -> None:
    stream = make_stream(8, [Phase(5000, 4000), Phase(5000, 16_000)], partitions=2)
    for end, waiting in ((5000, 4000), (10_000, 16_000)):
        ts_ms = stream.ts_ms[:end]
        assert 8 * int((ts_ms > ts_ms[-1] - WINDOW_S * 1000).sum()) == pytest.approx(waiting, rel=0.01)


def test_the_beginning_of_a_stream_has_the_actions_on_its_requests() -> None:
    stream = make_stream(2, [Phase(300, 100)], partitions=2)
    begin = stream.first(100)
    assert list(begin.request_events(one_item=False)) == list(stream.request_events(one_item=False))[:100]
    assert set(begin.action_impression) == {n for n in stream.action_impression if n < 200}


@pytest.mark.stack
def test_the_benchmark_of_the_joiner_measures_ours_and_both_peers() -> None:
    sizes = "--engine jvm --items 8 --events 64000 --waiting 2000 --warm-up 1 --seconds 1 --checkpoint-s 1"
    command = [sys.executable, "-m", "jobs", "bench", "joiner", *sizes.split(), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for join in ("ours", "interval_join", "java"):
        assert all(told["items_8"][join][figure] > 0 for figure in FIGURES)
    assert told["items_8"]["bytes_per_impression"] > 100
    assert told["waiting"]["2000"]["events_per_s"] > 0
