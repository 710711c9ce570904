"""All of the joiner is killed, stopped, moved and enlarged under load: it gives what the plain join gives."""

import heapq
import itertools
import random
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipelines.codec import decode
from pipelines.records import decode_action, decode_request
from tests.pipelines.join.reference import join, resolutions
from tests.pipelines.join.stack import LABELS, PARTITIONS, Stack
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

DELAYS_S = {"click": 4.0, "buy": 20.0, "play": 7.0, "like": 5.0, "share": 5.0}
"""Longest time until an action: some are late, some too late."""
REQUESTS_PER_S = 60
ITEMS = 4
FORGOTTEN_S = 45
"""Twice the longest reach, and what event time is behind the clock."""
REPEATED = 20
AHEAD_MS = 120_000


class Load(threading.Thread):
    """Requests and their actions, in order of event time, until told to end; remembers what it sent."""

    def __init__(self, bootstrap, features_event, action_event):
        super().__init__(daemon=True)
        # Idempotent, so that what is sent again while the broker is away comes once and in order.
        settings = {"enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": bootstrap, **settings})
        self._features_event, self._action_event = features_event, action_event
        self._random, self._end = random.Random(11), threading.Event()
        self._due, self._tie = [], itertools.count()
        self.sent, self.requests = [], 0
        self._first = []

    def run(self):
        while not self._end.wait(1 / REQUESTS_PER_S):
            self._request()
            while self._due and self._due[0][0] <= now_ms():
                self._act(*heapq.heappop(self._due)[2:])

    def finish(self):
        """Every action happens, every window closes."""
        self._end.set()
        self.join()
        while self._due:
            if (wait_ms := self._due[0][0] - now_ms()) > 0:
                time.sleep(wait_ms / 1000)
            self._act(*heapq.heappop(self._due)[2:])
        for partition in range(PARTITIONS):
            self._produce("features", self._features_event("", now_ms() + AHEAD_MS, []), partition=partition)
            self._produce("actions", self._action_event("", 0, "", now_ms() + AHEAD_MS), partition=partition)
        assert self._producer.flush(60) == 0

    def repeat_forgotten(self):
        """Some requests that the joiner has forgotten come a second time."""
        wait_for(lambda: now_ms() - self._first[-1][1] > 1000 * FORGOTTEN_S, "requests to be old")
        for number, (event, _) in enumerate(self._first):
            self._produce("features", event, f"r{number}")
        self._producer.flush(10)

    def _request(self):
        request_id = f"r{self.requests}"
        self.requests += 1
        user = {"user_id": self._random.randrange(100)}
        items = [{"item_id": n, "price": self._random.random()} for n in range(ITEMS)]
        event = self._features_event(request_id, now_ms(), items, user=user)
        self._send(False, event, request_id)
        if len(self._first) < REPEATED:
            self._first.append((event, now_ms()))
        for kind, delay_s in DELAYS_S.items():
            for _ in range(self._random.randrange(3) if self._random.random() < 0.3 else 0):
                at_ms = now_ms() + round(1000 * delay_s * self._random.random())
                heapq.heappush(self._due, (at_ms, next(self._tie), request_id, kind))

    def _act(self, request_id, kind):
        item, value = self._random.randrange(ITEMS), self._random.randrange(1, 4)
        event = self._action_event(request_id, item, kind, now_ms(), value=value)
        for _ in range(2 if self._random.random() < 0.1 else 1):
            self._send(True, event, request_id)

    def _send(self, is_action, event, request_id):
        self.sent.append((is_action, event))
        self._produce("actions" if is_action else "features", event, request_id)

    def _produce(self, topic, event, key=None, **more):
        self._producer.produce(topic, event, key, **more)
        self._producer.poll(0)


@pytest.fixture
def stack(tmp_path_factory):
    # Where only the file system tells which checkpoint is the newest, once the JobManager is dead.
    elsewhere = tmp_path_factory.mktemp("state").as_uri()
    started = Stack(tmp_path_factory.mktemp("run"), LABELS, task_managers=2, state_url=elsewhere)
    yield started
    started.kill()


def now_ms():
    return time.time_ns() // 1_000_000


def committed(stack):
    """How far readers of `examples` see."""
    settings = {"bootstrap.servers": stack.bootstrap, "group.id": "test", "log_level": 0}
    consumer = Consumer({**settings, "isolation.level": "read_committed"})
    try:
        places = [TopicPartition("examples", partition) for partition in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    finally:
        consumer.close()


def goes_on(stack, what):
    """Waits until the job runs as a whole, and commits new examples."""
    from jobs.stack.rest import FlinkUnreachableError

    wait_for(stack.runs, f"the job to run after {what}", retry=FlinkUnreachableError)
    before = committed(stack)
    wait_for(lambda: committed(stack) > before + 100, f"examples after {what}")


def stop_and_go_on(stack, load, what, **joiner):
    """Stopped with a savepoint, submitted again from it, perhaps with other settings."""
    stopping = stack.flink.begin_stop(is_embedded=True)
    stopping.wait(60)
    # Restored, it has no watermark yet when it reads them.
    load.repeat_forgotten()
    stack.change(**joiner)
    stack.submit(resume=True)
    goes_on(stack, what)


def kill_each(stack, task_manager):
    from jobs.stack.rest import FlinkUnreachableError

    task_manager.kill()
    stack.start_task_manager(0)
    goes_on(stack, "a killed TaskManager")
    stack.broker.kill()
    stack.start_broker()
    wait_for(stack.broker_answers, "the broker")
    goes_on(stack, "a killed broker")
    stack.job_manager.kill()
    stack.start_job_manager()
    wait_for(stack.has_slots, "the TaskManager to come back", retry=FlinkUnreachableError)
    stack.submit(resume=True)
    goes_on(stack, "a killed JobManager")


@pytest.mark.timeout(600)
def test_kills_savepoints_and_another_parallelism_lose_and_repeat_nothing(
    stack, make_job, features_event, action_event
):
    from jobs.summary.summarize import summarize
    from jobs.topics import read_topic

    task_manager = stack.start_task_manager(0)
    stack.submit()
    load = Load(stack.bootstrap, features_event, action_event)
    load.start()
    goes_on(stack, "the start")

    kill_each(stack, task_manager)
    stack.start_task_manager(1)
    stop_and_go_on(stack, load, "a savepoint read by two", parallelism=2)
    stop_and_go_on(stack, load, "a savepoint of two read by one", parallelism=1)
    load.finish()

    job = make_job(0.5, LABELS)
    expected = join(
        job,
        [decode_request(event, job.schema_) for is_action, event in load.sent if not is_action],
        [decode_action(event) for is_action, event in load.sent if is_action],
    )

    def results():
        lists = [decode(message.value()) for message in read_topic(stack.job, "examples")]
        taught = resolutions(job, [each for one in lists for each in one.examples])
        return taught, sum(one.sampled_away for one in lists)

    def all_results():
        taught, sampled_away = results()
        left = taught.total() + sampled_away
        is_over = left >= expected.resolutions.total() + expected.sampled_away.total()
        return (taught, sampled_away) if is_over else None

    taught, sampled_away = wait_for(all_results, "the rest of the examples")
    # Not compared as a whole: pytest would take minutes to say how they differ.
    assert not list((expected.resolutions - taught).elements())[:5], "lost"
    assert not list((taught - expected.resolutions).elements())[:5], "repeated, or wrong"
    assert sampled_away == expected.sampled_away.total()
    assert {each.was for each in taught} == {None, 0.0}
    reasons = {dict(letter.headers())["reason"] for letter in read_topic(stack.job, "dead-letters")}
    assert reasons == {b"late"}
    accounting = summarize(stack.job, stack.run.path)["accounting"]
    assert accounting["closes"], accounting
    # What had been forgotten was refused each time.
    assert accounting["dead"] == 2 * REPEATED * ITEMS
    assert accounting["in"] == ITEMS * load.requests + accounting["dead"]
