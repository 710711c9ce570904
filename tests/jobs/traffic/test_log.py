from collections.abc import Callable
from typing import Any

import orjson
import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import Job
from jobs.traffic.log import EventLog
from jobs.traffic.visits import Reaction, Visit

VISITS = st.lists(st.tuples(st.integers(0, 1000), st.lists(st.integers(0, 3000), max_size=3)), max_size=20)
"""Times of requests, and the delays of their reactions, ms."""


def make_visits(times: list[tuple[int, list[int]]]) -> list[Visit]:
    visits = []
    for number, (ts, delays) in enumerate(sorted(times)):
        reactions = [Reaction(1, "click", ts + delay, ts + delay) for delay in delays]
        visits.append(Visit(f"r-{number}", ts, {}, {}, [{"item_id": 1}], reactions))
    return visits


class Tape(EventLog):
    """An EventLog that keeps what it would have sent."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.features, self.actions_topic = job.kafka.topics.features, job.kafka.topics.actions
        self.sent: list[tuple[str, dict[str, Any], int]] = []

    def _produce(self, topic: str, key: str, value: bytes, partition: int = -1) -> None:
        self.sent.append((topic, orjson.loads(value), partition))


@pytest.fixture(scope="module")
def job(bootstrap: str) -> Job:
    schema = {
        "features": {"item_id": {"from": "item.item_id"}},
        "labels": {
            "a": {"action": "click", "window_s": 0.5, "late_s": 1.5},
            "b": {"action": "like", "window_s": 1},
        },
    }
    kafka = {"bootstrap": bootstrap, "client": {"log_level": "0"}}
    return Job.model_validate(
        {"name": "t", "kafka": kafka, "schema": schema, "joiner": {"out_of_order_s": 0.5}}
    )


@pytest.fixture(scope="module")
def tape(job: Job) -> Tape:
    return Tape(job)


@given(VISITS)
def test_the_log_is_in_event_order_and_complete(tape: Tape, times: list[tuple[int, list[int]]]) -> None:
    tape.sent.clear()
    visits = make_visits(times)
    for visit in visits:
        tape.write(visit, {})
    tape.advance(10_000)
    written = [event["ts"] for _, event, _ in tape.sent]
    assert written == sorted(written)
    expected = sorted(
        [visit.ts for visit in visits] + [each.ts for visit in visits for each in visit.reactions]
    )
    assert written == expected


def test_a_reaction_waits_for_its_time(tape: Tape) -> None:
    tape.sent.clear()
    tape.write(Visit("r", 100, {}, {}, [{"item_id": 1}], [Reaction(1, "click", 300, 350)]), {})
    tape.advance(349)
    assert len(tape.sent) == 1
    tape.advance(350)
    assert tape.sent[1][1] == {"request_id": "r", "item_id": 1, "action": "click", "ts": 300}


def test_scores_join_those_that_were_known(tape: Tape) -> None:
    tape.sent.clear()
    item = {"item_id": 1, "scores": {"a@best": 0.5}}
    tape.write(Visit("r", 100, {}, {}, [item], []), {1: {"a": 0.25}})
    assert tape.sent[0][1]["items"] == [{"item_id": 1, "scores": {"a@best": 0.5, "a": 0.25}}]


def test_the_end_delivers_what_is_due_and_moves_every_partition_past_all_labels(job: Job) -> None:
    tape = Tape(job)
    tape.write(
        Visit("r", 5000, {}, {}, [{"item_id": 1}], [Reaction(1, "click", ts, ts) for ts in (6000, 9000)]), {}
    )
    tape.finish()
    assert [event["ts"] for _, event, _ in tape.sent[:2]] == [5000, 6000]
    heartbeats = tape.sent[2:]
    # The newest event, the longest window with what may be late, out_of_order_s.
    assert all(event["ts"] > 6000 + 2000 + 500 for _, event, _ in heartbeats)
    reached = {(topic, partition) for topic, _, partition in heartbeats}
    assert reached == {(topic, p) for topic in (tape.features, tape.actions_topic) for p in range(4)}


def test_heartbeats_stay_within_what_the_joiner_takes(job: Job) -> None:
    tape = Tape(job)
    tape.write(Visit("r", 5000, {}, {}, [{"item_id": 1}], []), {})
    tape.finish(latest_ms=6000)
    assert {event["ts"] for _, event, _ in tape.sent[1:]} == {6000, 6001}


def test_events_reach_the_broker_by_request(
    make_job: Callable[..., Job], read: Callable[[str], list[Message]]
) -> None:
    job = make_job({"kind": "simulated"})
    log = EventLog(job)
    for visit in make_visits([(ts, [5]) for ts in range(100)]):
        log.write(visit, {1: {"is_click": 0.5}})
    log.advance(1000)
    log.flush()
    requests, actions = (read(topic) for topic in (job.kafka.topics.features, job.kafka.topics.actions))
    assert len(requests) == len(actions) == 100
    partition = {message.key(): message.partition() for message in requests}
    assert len(set(partition.values())) > 1
    assert all(partition[message.key()] == message.partition() for message in actions)
    assert all(orjson.loads(message.value())["request_id"].encode() == message.key() for message in requests)
