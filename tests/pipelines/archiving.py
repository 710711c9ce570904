"""An archive of made-up examples on a real broker and a real Flink cluster."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipelines.codec import encode
from pipelines.records import Example
from tests.pipelines.conftest import JOB
from tests.waiting import wait_for

HOUR_MS = 3_600_000
COMPACT_EVERY = 4
START_MS = 1_764_000_000_000


class Cluster:
    """The embedded broker and Flink cluster, with the archive submitted as `freshet run` submits it."""

    def __init__(self, folder, archive):
        from jobs.archive import archive_job, with_archive
        from jobs.spec import Job
        from jobs.stack.addresses import free_addresses, free_ports, resolve
        from jobs.stack.broker import Broker, answers, create_topics
        from jobs.stack.flink import Flink
        from jobs.stack.layout import RunDirectory
        from jobs.stack.rest import FlinkUnreachableError

        self.run, self.processes, ports = RunDirectory(folder), [], free_ports()
        given = Job.model_validate({**JOB, "kafka": {}, "joiner": {"archive": archive}})
        self.job = job = with_archive(resolve(given), self.run)
        self.run.create()
        broker = Broker(self.run.kafka, job.kafka.bootstrap, next(free_addresses()), job.kafka)
        broker.prepare()
        self.start("broker", broker.command, None)
        self.flink = Flink(archive_job(job), self.run, is_archive=True)
        self.flink.prepare()
        self.rpc_port = next(ports)
        manager_metrics, _, self.metrics = job.joiner.metrics_addresses
        manager = self.flink.job_manager(self.rpc_port, next(ports), manager_metrics)
        self.start("jobmanager", manager, self.flink.env)
        wait_for(lambda: answers(job.kafka.bootstrap, {}), "the broker")
        create_topics(job.kafka)
        wait_for(lambda: self.flink.rest.get("/overview"), "the JobManager", retry=FlinkUnreachableError)

    def start(self, name, command, env):
        from jobs.stack.process import Process

        self.processes.append(Process(command, self.run.logs / f"{name}.log", env))
        return self.processes[-1]

    def start_task_manager(self):
        return self.start("taskmanager", self.flink.task_manager(self.rpc_port, self.metrics), self.flink.env)

    def submit(self, resume=False):
        command = self.flink.submission(is_embedded=True, resume=resume)
        submission = self.start("archive", command, self.flink.env)
        assert submission.wait(120), "flink run does not end"
        assert submission.status() == 0, submission.output().decode()


@contextmanager
def running_cluster(folder) -> Iterator[Cluster]:
    from jobs.stack.layout import JARS

    if shutil.which("java") is None or not (JARS / "archive").exists():
        pytest.skip("needs a JDK and the jars (`make setup`)")
    started = Cluster(folder, {"checkpoint_interval_s": 1.0, "compact_every": COMPACT_EVERY})
    try:
        yield started
    finally:
        for process in reversed(started.processes):
            process.kill()


def within_three_hours(number) -> int:
    return START_MS + number * 7001 % (3 * HOUR_MS)


def example(number, item, ts_ms):
    """One whose every value is another; sometimes without some."""
    features = {"user_id": number, "country": f"é{number}", "price": number + 0.5}
    if number % 3:
        features |= {"tags": [f"t{number}", "t"], "parents": [number, -1]}
    return Example(
        request_id=f"r{number}",
        item_id=str(item),
        ts_ms=ts_ms,
        joined_ts_ms=START_MS + number,
        action_ts_ms=number,
        action_logged_ts_ms=number + 1,
        sampling_rate=0.5,
        features=features,
        labels={"click": 1.0, "click_soon": 0.0, "buy": 0.0},
        masks={"click": 1.0, "click_soon": 0.0, "buy": 1.0},
        scores={"click": 0.25} if number % 2 else {},
    )


class Writer:
    """Messages in transactions, of which every third is given up; some messages have no examples."""

    def __init__(self, bootstrap, ts_ms: Callable[[int], int] = within_three_hours):
        from confluent_kafka import Producer

        self.ts_ms = ts_ms
        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "w", "log_level": 0})
        self.producer.init_transactions(30)
        self.number = 0

    def write(self, transactions):
        for _ in range(transactions):
            self.producer.begin_transaction()
            for _ in range(20):
                self.number += 1
                ts_ms = self.ts_ms(self.number)
                examples = [example(self.number, item, ts_ms) for item in range(self.number % 4)]
                (value,) = encode(examples, sampled_away=1)
                self.producer.produce("examples", value, f"r{self.number}".encode())
            assert self.producer.flush(30) == 0
            if self.number % 60:
                self.producer.commit_transaction(30)
            else:
                self.producer.abort_transaction(30)


def in_topic(job):
    from jobs.topics import read_topic
    from pipelines.example_pb2 import ExampleList

    return {
        (each.topic(), each.partition(), each.offset(), position): value
        for each in read_topic(job, "examples")
        for position, value in enumerate(ExampleList.FromString(each.value()).examples)
    }


def in_files(folder):
    """By DuckDB, which also finds what begins with a dot when it is told `*`."""
    import duckdb

    with duckdb.connect() as database:
        files = f"'{folder}/*/*/compacted-*.parquet'"
        return database.sql(f"from read_parquet({files}, hive_partitioning = true)").df()


def count(folder):
    return len(in_files(folder)) if list(folder.glob("*/*/compacted-*.parquet")) else 0
