"""The whole joiner on a real broker and a real Flink cluster: garbage in, a TaskManager killed."""

import random
import time
from collections import Counter

import orjson
import pytest

from pipelines.join.intake import Intake
from pipelines.settings import PoolSettings
from tests.pipelines.join.conftest import Cluster
from tests.pipelines.join.stack import MAX_MESSAGE_BYTES, PARTITIONS
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

FAST_CLOCK_MS = 300_000


@pytest.fixture(params=["python", "jvm"])
def stack(shared_stack, request):
    pool = PoolSettings(negatives=1, size=100_000) if request.param == "jvm" else None
    shared_stack.become(request.param, engine=request.param, pool=pool, restore_from=None)
    yield shared_stack
    shared_stack.cancel()
    shared_stack.kill_task_managers()


def garbage(now_ms):
    """(record of `features`, reason of its dead letter); none may stop the stream or drag event time."""

    def at(ts_ms, request_id="bad", **more):
        return orjson.dumps({"request_id": request_id, "ts": ts_ms, "items": [{"item_id": 1}]} | more)

    return [
        (None, "malformed"),
        (b"", "malformed"),
        (b"\xff\xfe\x00 not text", "malformed"),
        (b"[1, 2]", "malformed"),
        (b"[" * 200_000, "malformed"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "malformed"),
        (b'{"request_id": "\\ud800", "ts": %d, "items": [{"item_id": 1}]}' % now_ms, "malformed"),
        (b'{"request_id": "r", "ts": %d}' % now_ms, "malformed"),
        (b'{"request_id": 7, "ts": %d, "items": [{"item_id": 1}]}' % now_ms, "malformed"),
        (b'{"request_id": "r", "ts": "soon", "items": [{"item_id": 1}]}', "malformed"),
        (b'{"request_id": "r", "ts": 1e300, "items": [{"item_id": 1}]}', "malformed"),
        (b"x" * 3_000_000, "too-large"),
        # The broker takes them as they come, compressed; a letter with them would be too long.
        (b'{"request_id": "r", "items": [' + b"1," * 1_500_000 + b"1]}", "too-large"),
        (b"x" * (MAX_MESSAGE_BYTES - 200), "too-large"),
        # Short ones, from which long examples would be made.
        (
            at(now_ms, user={"country": "x" * 100_000}, items=[{"item_id": n} for n in range(600)]),
            "too-large",
        ),
        (at(now_ms, user={"country": "x" * 200_000}), "too-large"),
        (at(now_ms, "r" * 100_000), "too-large"),
        (at(0), "timestamp"),
        (at(4_102_444_800_000), "timestamp"),
        (at((1 << 63) - 1), "timestamp"),
    ]


class Traffic:
    """Sends events, and remembers what it sent, for the same join without Flink."""

    def __init__(self, stack, features_event, action_event):
        from confluent_kafka import Producer

        settings = {"compression.type": "lz4", "message.max.bytes": 32 << 20, "log_level": 0}
        self.producer = Producer({"bootstrap.servers": stack.bootstrap, **settings})
        self.topic = stack.topic
        self.features_event, self.action_event = features_event, action_event
        self.sent, self.random, self.impressions = [], random.Random(5), 0
        self.dead: Counter[tuple[str, str]] = Counter()

    def fast_clock(self):
        """Events of a clock that is ahead, into every partition: nobody else is late because of them."""
        ahead_ms = now() + FAST_CLOCK_MS
        for partition in range(PARTITIONS):
            request_id = f"fast{partition}"
            self.send(False, self.features_event(request_id, ahead_ms), partition=partition)
            self.send(True, self.action_event(request_id, 1, "buy", ahead_ms), partition=partition)
            self.impressions += 1
        # Heartbeats that must not be believed; the first has too many bytes, though not too many characters.
        long = orjson.dumps({"ts": ahead_ms, "items": [], "action": "", "more": "\u4e2d" * 100_000})
        far = orjson.dumps({"ts": 4_102_444_800_000, "items": [], "action": ""})
        for value, reason in ((long, "too-large"), (far, "timestamp")):
            for topic in ("features", "actions"):
                for partition in range(PARTITIONS):
                    self.produce(topic, value, partition=partition)
                    self.dead[topic, reason] += 1
        assert self.producer.flush(30) == 0

    def long_request(self):
        """One whose negatives fit into no single message."""
        event = self.features_event("long", now(), range(2000), user={"country": "x" * 1000})
        self.send(False, event, b"long")
        self.impressions += 2000

    def request(self, number):
        """One request with four items and, mostly, one reaction of some kind; some events twice."""
        now_ms, draw = now(), self.random.random()
        # Beyond the basic plane, and with a NUL: ids are text, not just letters.
        request_id = f"r{number}" + ("\U0001f600\0é" if number % 50 == 0 else "")
        events = [(False, self.features_event(request_id, now_ms, range(4)))]
        self.impressions += 4
        if draw < 0.6:
            kind = "click" if draw < 0.3 else "buy" if draw < 0.5 else "share"
            item = self.random.randrange(4)
            events.append((True, self.action_event(request_id, item, kind, now_ms + 5)))
        elif draw < 0.65:
            events.append((True, self.action_event(request_id, 99, "click", now_ms)))
            self.dead["actions", "orphan"] += 1
        elif draw < 0.7:
            events.append((True, self.action_event(f"none{number}", 1, "click", now_ms)))
            self.dead["actions", "orphan"] += 1
        if number % 7 == 0 and draw < 0.6:
            events += events
        if number % 2:
            events.reverse()
        for is_action, value in events:
            self.send(is_action, value, request_id.encode())

    def garbage(self):
        for value, reason in garbage(now()):
            self.produce("features", value, b"bad \xff")
            self.dead["features", reason] += 1
        self.produce("actions", b"{}", None)
        self.dead["actions", "malformed"] += 1

    def close_windows(self):
        """Heartbeats far enough ahead, to every partition."""
        ahead_ms = now() + FAST_CLOCK_MS + 60_000
        for partition in range(PARTITIONS):
            self.produce("features", self.features_event("", ahead_ms, []), partition=partition)
            self.produce("actions", self.action_event("", 0, "", ahead_ms), partition=partition)
        assert self.producer.flush(30) == 0

    def send(self, is_action, value, key=None, **more):
        self.sent.append((is_action, value))
        self.produce("actions" if is_action else "features", value, key, **more)

    def produce(self, topic, value, key=None, **more):
        self.producer.produce(self.topic(topic), value, key, **more)
        self.producer.poll(0)


def now() -> int:
    return time.time_ns() // 1_000_000


def resolved(examples):
    return Counter(
        (each.request_id, each.item_id, label, each.labels[label], each.action_ts_ms)
        for each in examples
        for label, mask in each.masks.items()
        if mask
    )


def assert_letters(stack, traffic):
    """Each refused event is a dead letter once, as it was where its headers say."""
    from jobs.topics import read_topic

    letters = list(read_topic(stack.job, stack.topic("dead_letters")))
    headers = [{name: value.decode() for name, value in letter.headers()} for letter in letters]
    assert Counter((each["topic"], each["reason"]) for each in headers) == Counter(
        {(stack.topic(kind), reason): number for (kind, reason), number in traffic.dead.items()}
    )
    assert len({(each["topic"], each["partition"], each["offset"]) for each in headers}) == len(headers)
    sources = {
        (message.topic(), str(message.partition()), str(message.offset())): (message.key(), message.value())
        for kind in ("features", "actions")
        for message in read_topic(stack.job, stack.topic(kind))
    }
    for letter, header in zip(letters, headers, strict=True):
        key, value = sources[header["topic"], header["partition"], header["offset"]]
        is_too_long = value is not None and len(value) > MAX_MESSAGE_BYTES - 1500
        assert (letter.key(), letter.value()) == (key, None if is_too_long else value)
        assert ("value left out" in header["detail"]) == is_too_long


@pytest.mark.timeout(600)
def test_a_killed_task_manager_garbage_and_a_fast_clock_leave_every_account_closed(
    stack, make_job, features_event, action_event
):
    from jobs.summary.summarize import summarize
    from jobs.topics import read_topic
    from pipelines.codec import decode

    task_manager = stack.start_task_manager()
    stack.submit()

    def lists():
        return [decode(message.value()) for message in read_topic(stack.job, stack.topic("examples"))]

    def accounted_for():
        """The impressions that left as examples, and the number of those that were sampled away."""
        read = lists()
        impressions = {
            (each.request_id, each.item_id) for one in read for each in one.examples if not each.pool_for
        }
        return len(impressions) + sum(one.sampled_away for one in read)

    traffic = Traffic(stack, features_event, action_event)
    traffic.fast_clock()
    for number in range(1500):
        traffic.request(number)
        if number % 500 == 250:
            traffic.garbage()
    traffic.long_request()
    traffic.producer.flush(30)
    wait_for(accounted_for, "the first examples")
    wait_for(lambda: stack.metric("impressions"), "the metrics")
    for number in range(1500, 3000):
        traffic.request(number)
    task_manager.kill()
    for number in range(3000, 4000):
        traffic.request(number)
    stack.start_task_manager()
    traffic.close_windows()
    wait_for(lambda: accounted_for() >= traffic.impressions, "the rest of the examples")

    reference = Cluster(make_job(0.5))
    reference.intake = Intake(stack.job)
    for is_action, value in traffic.sent:
        reference.send(value, is_action=is_action)
    reference.finish()
    assert accounted_for() == traffic.impressions
    assert resolved(each for one in lists() for each in one.examples) == resolved(reference.examples)
    assert sum(one.sampled_away for one in lists()) == reference.sampled_away
    assert sum(any(each.request_id == "long" for each in one.examples) for one in lists()) > 1
    assert_letters(stack, traffic)
    accounting = summarize(stack.job, stack.run.path)["accounting"]
    assert accounting["closes"], accounting
    assert accounting["in"] == traffic.impressions + accounting["dead"]
    if stack.job.joiner.engine == "jvm":
        # As if nothing had been killed.
        wait_for(lambda: stack.metric("pool_items") == traffic.impressions, "the last count of the pool")
        assert stack.metric("waiting_requests") == stack.metric("waiting_bytes") == 0
        assert any(each.pool_for for one in lists() for each in one.examples)
