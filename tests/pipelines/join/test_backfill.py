"""A backfill, from Kafka or from files, gives the examples and dead letters that the online run gave."""

import gzip
import random
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from pipelines.codec import decode
from tests.pipelines.join.stack import LABELS, PARTITIONS, Stack
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

DELAYS_S = {"click": 4.0, "buy": 20.0, "play": 7.0, "like": 5.0}
"""Longest time until an action: some are late, some too late."""
REACHES_S = {"click": 3, "buy": 17, "play": 6, "like": 4}
REQUESTS, ITEMS, SPAN_MS = 1500, 3, 240_000
DISORDER_MS = 1500
OUT_OF_ORDER_MS = 2000
TOO_OLD_MS = 8 * 86_400_000
GARBAGE = (b"{", b"[]", b'"r1"', b'{"request_id": "r1"}', b"\xff\xfe", b"0" * (1 << 19))
AHEAD_S = 20.0
BEATS = 200
"""Heartbeats around each line, which teach nothing: of a million lines some are left when it is killed."""


class Traffic:
    """Requests and actions of some minutes ago, each topic in order of arrival, later than it happened."""

    def __init__(self, features_event, action_event, heartbeat):
        self._random = random.Random(5)
        self._features_event, self._action_event = features_event, action_event
        self.ends_ms = time.time_ns() // 1_000_000 - 60_000
        self.begins_ms = self.ends_ms - SPAN_MS
        self.records = {"features": [], "actions": []}
        """(ms of arrival, partition, value)."""
        for number in range(REQUESTS):
            self._request(f"r{number}", self.begins_ms + self._random.randrange(SPAN_MS))
        for number in range(40):
            self._act(f"unknown{number}", 0, "click", self.begins_ms + self._random.randrange(SPAN_MS))
        for topic in self.records:
            for number, value in enumerate(GARBAGE * 3):
                self._put(topic, number, value, self.begins_ms + self._random.randrange(SPAN_MS))
        old = features_event("old", self.begins_ms - TOO_OLD_MS, [1])
        self._put("features", 0, old, self.begins_ms + SPAN_MS // 2)
        for partition in range(PARTITIONS):
            for topic, beat in heartbeat.items():
                self.records[topic].append((self.ends_ms + DISORDER_MS, partition, beat(self.ends_ms)))
        for records in self.records.values():
            records.sort(key=lambda record: record[0])

    def _request(self, request_id, ts_ms):
        items = [{"item_id": n, "price": n / 4} for n in range(ITEMS)]
        user = {"user_id": self._random.randrange(100)}
        self._put("features", request_id, self._features_event(request_id, ts_ms, items, user=user), ts_ms)
        for kind, delay_s in DELAYS_S.items():
            for item in range(ITEMS):
                if self._random.random() < 0.2:
                    self._act(
                        request_id, item, kind, ts_ms, delay_ms=self._random.randrange(round(1000 * delay_s))
                    )

    def _act(self, request_id, item, kind, ts_ms, *, delay_ms=0):
        value = self._random.randrange(1, 4)
        event = self._action_event(request_id, item, kind, ts_ms + delay_ms, value=value)
        # Of the copies of one that is too late all are dead, unless they come before their request.
        self._put(
            "actions", request_id, event, ts_ms + delay_ms, may_repeat=delay_ms <= 1000 * REACHES_S[kind]
        )

    def _put(self, topic, key, value, ts_ms, *, may_repeat=True):
        if ts_ms > self.ends_ms:
            return
        partition = hash_of(key) % PARTITIONS
        for _ in range(2 if may_repeat and self._random.random() < 0.1 else 1):
            arrives_ms = ts_ms + self._random.randrange(DISORDER_MS)
            self.records[topic].append((arrives_ms, partition, value))

    def produce(self, bootstrap):
        # Idempotent, so that what is sent again comes in order.
        settings = {"enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        producer = Producer({"bootstrap.servers": bootstrap, **settings})
        for topic, records in self.records.items():
            for arrives_ms, partition, value in records:
                producer.produce(topic, value, partition=partition, timestamp=arrives_ms)
                producer.poll(0)
        assert producer.flush(60) == 0


def hash_of(key):
    return key if isinstance(key, int) else sum(key.encode())


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    started = Stack(tmp_path_factory.mktemp("run"), LABELS, task_managers=2, parallelism=2)
    yield started
    started.kill()


@pytest.fixture(scope="module")
def traffic(features_event, action_event, heartbeat):
    return Traffic(features_event, action_event, heartbeat)


@pytest.fixture(scope="module")
def online(stack, traffic):
    """What the online joiner taught and refused."""
    task_managers = [stack.start_task_manager(number) for number in range(2)]
    traffic.produce(stack.bootstrap)
    stack.submit()
    closed_ms = traffic.ends_ms - OUT_OF_ORDER_MS
    wait_for(lambda: event_time_ms(stack) == closed_ms, "the last event")
    stack.flink.begin_stop(is_embedded=True).wait(60)
    stack.task_managers = task_managers
    return outcome(stack.job)


def event_time_ms(stack):
    live = stack.flink.rest.live_job(stack.job.name)
    return live and stack.flink.rest.progress(live["jid"]).event_time_ms


def read(job, topic):
    from jobs.topics import read_topic

    return read_topic(job, topic)


def outcome(job):
    """Lessons, items that never left, dead letters: all that does not depend on the clock."""
    lists = [(message.key(), decode(message.value())) for message in read(job, job.kafka.topics.examples)]
    lessons = Counter(lesson for _, each in lists for one in each.examples for lesson in lessons_of(one))
    never_left = Counter()
    for key, each in lists:
        never_left[key] += each.sampled_away + 1000 * each.unlabelled
    return lessons, +never_left, letters(job)


def lessons_of(example):
    """What one example teaches. Of labels that it does not teach it says what was known just then."""
    for name in (name for name, mask in example.masks.items() if mask == 1):
        yield (
            *(example.request_id, example.item_id, example.ts_ms, example.sampling_rate),
            *(name, example.labels[name], example.was.get(name), example.otherwise.get(name)),
            *(example.action_ts_ms, example.action_logged_ts_ms, repr(sorted(example.features.items()))),
        )


def letters(job):
    found = Counter()
    for letter in read(job, job.kafka.topics.dead_letters):
        headers = dict(letter.headers())
        place = tuple(headers[name].decode() for name in ("topic", "partition", "offset", "reason"))
        found[(*place, letter.value())] += 1
    return found


def backfill(stack, name, **source):
    """Runs one to its end, writing to topics of its own; its job."""
    from jobs.stack.broker import create_topics
    from jobs.stack.flink import Flink
    from pipelines.settings import InputSettings

    topics = stack.job.kafka.topics.model_copy(
        update={"examples": f"{name}-examples", "dead_letters": f"{name}-dead"}
    )
    kafka = stack.job.kafka.model_copy(update={"topics": topics})
    joiner = stack.job.joiner.model_copy(update={"input": InputSettings(**source)})
    job = stack.job.model_copy(update={"name": name, "kafka": kafka, "joiner": joiner})
    create_topics(job.kafka)
    return job, Flink(job, stack.run)


def submit(stack, flink):
    stack.flink = flink
    stack.submit()


def finishes(flink):
    def is_finished():
        jobs = [job for job in flink.rest.get("/jobs/overview")["jobs"] if job["name"] == flink.name]
        cause = flink.rest.root_cause(jobs[0]["jid"])
        assert jobs[0]["state"] != "FAILED", cause
        return jobs[0]["state"] == "FINISHED"

    wait_for(is_finished, "the backfill to end")


def check_equal(found, expected):
    # Not compared as a whole: pytest would take minutes to say how they differ.
    for got, wanted in zip(found, expected, strict=True):
        assert not list((wanted - got).items())[:5], "lost"
        assert not list((got - wanted).items())[:5], "repeated, or wrong"


@pytest.mark.timeout(300)
def test_the_topics_give_the_same(stack, online):
    lessons, never_left, dead = online
    assert lessons.total() > REQUESTS
    assert never_left.total() > REQUESTS / 4
    assert {place[3] for place in dead} == {"late", "orphan", "malformed", "too-large", "timestamp"}
    assert any(lesson[6] == 0.0 for lesson in lessons), "no correction"
    job, flink = backfill(stack, "topics", kind="kafka", ahead_s=AHEAD_S)
    submit(stack, flink)
    finishes(flink)
    check_equal(outcome(job), online)


@pytest.fixture(scope="module")
def log(stack, online, heartbeat, tmp_path_factory):
    """Both topics as files, as rows and as lines: three after each other in each of two, or three, series."""
    folder = tmp_path_factory.mktemp("log")
    for topic in ("features", "actions"):
        records = [*read(stack.job, topic)]
        for partition in range(PARTITIONS):
            own = [record for record in records if record.partition() == partition]
            for number, part in enumerate(thirds(own)):
                # Their names are not in the order of time.
                _write_rows(folder / f"rows/{topic}/{partition}/{number}.parquet", part)
        # More than there are readers: one waits while the others move event time.
        records.sort(key=lambda record: record.timestamp()[1])
        for series in range(3):
            for number, part in enumerate(thirds(records[series::3])):
                lines = lines_between(part, heartbeat[topic])
                _write_lines(folder / f"lines/{topic}/{number}-{series}", lines, is_compressed=number == 1)
    return folder


def thirds(records):
    return [records[part * len(records) // 3 : (part + 1) * len(records) // 3] for part in range(3)]


@pytest.fixture(scope="module")
def heartbeat(features_event, action_event):
    """By topic, an event that tells the time and nothing else."""
    return {
        "features": lambda ts_ms: features_event("", ts_ms, []),
        "actions": lambda ts_ms: action_event("", 0, "", ts_ms),
    }


def lines_between(records, heartbeat):
    """The records' events, many heartbeats around each of them that are not ahead of it."""
    for record in records:
        beat = heartbeat(record.timestamp()[1] - DISORDER_MS) + b"\n"
        yield beat * (BEATS // 2)
        # Of these files nobody knows how old an event was when it was logged.
        if b'"old"' not in record.value():
            yield record.value() + b"\n"
        yield beat * (BEATS - BEATS // 2)


def _write_lines(file, lines, *, is_compressed):
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(lines)
    file = file.with_suffix(".jsonl.gz" if is_compressed else ".jsonl")
    file.write_bytes(gzip.compress(lines) if is_compressed else lines)


def _write_rows(file, records):
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        "value": [record.value() for record in records],
        "timestamp": pa.array([record.timestamp()[1] for record in records], pa.timestamp("ms")),
        "partition": [record.partition() for record in records],
        "offset": [record.offset() for record in records],
    }
    pq.write_table(pa.table(rows), file)


def source(log, kind, form, **more):
    places = {topic: (log / kind / topic).as_uri() for topic in ("features", "actions")}
    return {"kind": "files", "format": form, **places, **more}


@pytest.mark.timeout(300)
def test_rows_with_the_times_of_their_records_give_the_same(stack, online, log):
    job, flink = backfill(stack, "rows", **source(log, "rows", "parquet", ahead_s=AHEAD_S))
    submit(stack, flink)
    finishes(flink)
    lessons, never_left, dead = outcome(job)
    # Of copies in two files the one that is read first counts: it has a time of its own.
    check_equal((without_logged(lessons), never_left, dead), (without_logged(online[0]), *online[1:]))
    times = {record.timestamp()[1] for record in read(stack.job, "actions")}
    assert {lesson[9] for lesson in lessons} <= {0, *times}


@pytest.mark.timeout(300)
def test_lines_give_the_same_though_a_task_manager_is_killed_meanwhile(stack, online, log):
    job, flink = backfill(stack, "lines", **source(log, "lines", "json", ahead_s=AHEAD_S))
    submit(stack, flink)
    wait_for(lambda: has_examples(job), "the first examples")
    stack.task_managers[0].kill()
    stack.start_task_manager(0)
    wait_for(lambda: has_failed(flink), "the job to fail")
    finishes(flink)
    lessons, never_left, dead = outcome(job)
    expected, expected_never_left, expected_dead = online
    check_equal(
        (without_logged(lessons), never_left, refused(dead)),
        (without_logged(expected), expected_never_left, refused(expected_dead)),
    )
    assert all(lesson[8] == lesson[9] for lesson in lessons)
    for (file, _, line, _, value), _ in dead.items():
        assert lines_of(file)[int(line) - 1] == (value or b"0" * (1 << 19))


def has_failed(flink):
    newest = flink.rest.newest_job(flink.name)
    assert newest["state"] != "FINISHED", "over before it was killed"
    return flink.rest.root_cause(newest["jid"])


def has_examples(job):
    return next(read(job, job.kafka.topics.examples), None) is not None


def without_logged(lessons):
    found = Counter()
    for lesson, count in lessons.items():
        found[(*lesson[:9], *lesson[10:])] += count
    return found


def refused(dead):
    """By reason and value; what is too old for its record is in no file."""
    found = Counter()
    for (*_, reason, value), count in dead.items():
        found[reason, value] += 0 if reason == "timestamp" else count
    return +found


def lines_of(file):
    data = Path(file.removeprefix("file:")).read_bytes()
    return (gzip.decompress(data) if file.endswith(".gz") else data).split(b"\n")
