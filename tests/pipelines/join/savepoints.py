"""A savepoint for `tests/golden/savepoints`: the events before it and after it, and how it is made."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from tests.pipelines.join.stack import PARTITIONS, Stack
from tests.waiting import wait_for

GOLDEN = Path(__file__).parents[2] / "golden" / "savepoints"
BASE_S = 1_764_000_000
ITEMS = 3
OUT_OF_ORDER_S, SAVED_S, CLOSED_S = 2, 46, 1000
"""Event time of the savepoint, and when every window has closed."""


class Event(NamedTuple):
    """A record of either topic, in its partition at its time."""

    is_action: bool
    partition: int
    value: bytes
    ts_ms: int


def request(request_id: str, at_s: float, items: int = ITEMS) -> Event:
    told = {"request_id": request_id, "items": [{"item_id": item} for item in range(items)]}
    return _event(False, len(request_id) % PARTITIONS, at_s, told)


def action(request_id: str, item: int, kind: str, at_s: float) -> Event:
    told = {"request_id": request_id, "item_id": item, "action": kind}
    return _event(True, len(request_id) % PARTITIONS, at_s, told)


def heartbeats(at_s: float) -> Iterator[Event]:
    """One into each partition."""
    for partition in range(PARTITIONS):
        yield _event(False, partition, at_s, {"request_id": "", "items": []})
        yield _event(True, partition, at_s, {"request_id": "", "item_id": 0, "action": ""})


def _event(is_action: bool, partition: int, at_s: float, told: dict[str, object]) -> Event:
    ts_ms = round(1000 * (BASE_S + at_s))
    return Event(is_action, partition, orjson.dumps({**told, "ts": ts_ms}), ts_ms)


BEFORE = (
    request("forgotten", 0),
    action("forgotten", 1, "click", 1),
    request("closed", 20),
    action("closed", 1, "click", 21),
    # One of its three windows has closed.
    request("waiting", 40),
    action("waiting", 0, "click", 41),
    request("open", 45),
    action("early", 1, "click", 45),
    *heartbeats(SAVED_S + OUT_OF_ORDER_S),
)
AFTER = (
    request("waiting", 40),
    request("closed", 20),
    request("early", 44),
    action("waiting", 0, "click", 41),
    action("waiting", 0, "click", 42),
    action("waiting", 1, "click", 47),
    action("closed", 1, "click", 22),
    action("closed", 2, "click", 22),
    action("open", 2, "buy", 50),
)
FORGOTTEN = (request("forgotten", 0), action("forgotten", 2, "buy", 1))
"""What only a joiner that knows the event time of its savepoint refuses; it comes before everything else."""


def send(stack: Stack, events: Sequence[Event]) -> None:
    """Into the partitions and at the times that they have."""
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for each in events:
        topic = stack.topic("actions" if each.is_action else "features")
        producer.produce(topic, each.value, partition=each.partition, timestamp=each.ts_ms)
    assert producer.flush(30) == 0


def make(name: str) -> None:
    """Take the savepoint `ENGINE-vVERSION` with the joiner as it is. One that is there must not change."""
    target = GOLDEN / name
    assert not target.exists(), target
    stack = Stack(Path(tempfile.mkdtemp()))
    try:
        stack.start_task_manager()
        stack.become(name, engine=name.split("-")[0])
        send(stack, BEFORE)
        stack.submit()
        saved_ms = 1000 * (BASE_S + SAVED_S)
        wait_for(lambda: stack.event_time_ms() == saved_ms, "event time", retry=OSError)
        # No transaction may be open: brokers to come know none of them.
        stack.wait_for_checkpoints(3)
        place = _savepoint(stack)
        assert [file.name for file in place.iterdir()] == ["_metadata"]
        shutil.copytree(place, target)
    finally:
        stack.kill()


def _savepoint(stack: Stack) -> Path:
    """In the format that outlives Flink's versions and state backends; the job ends with it."""
    job_id = stack.flink.rest.live_job(stack.job.name)["jid"]
    command = [stack.flink._home / "bin" / "flink", "stop", "--type", "canonical", "-m", stack.flink.address]
    folder = stack.run.path / "savepoint"
    done = stack.start("stop", [str(word) for word in (*command, "-p", folder.as_uri(), job_id)])
    assert done.wait(60), "flink stop does not end"
    assert done.status() == 0, done.output().decode()
    (place,) = folder.iterdir()
    return place


if __name__ == "__main__":
    make(sys.argv[1])
