"""The archive: its columns, and the job on a real broker and a real Flink cluster, a TaskManager killed."""

import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from pipelines.archive_columns import columns
from pipelines.codec import encode
from pipelines.records import Example
from pipelines.settings import JoinJob
from tests.pipelines.conftest import JOB

GOLDEN = Path(__file__).parents[1] / "golden" / "archive_columns_v1.txt"
HOUR_MS = 3_600_000
COMPACT_EVERY = 4
START_MS = 1_764_000_000_000
PATIENCE_S = 120


def described(job):
    return "".join(f"{name} {kind}\n" for name, kind in columns(job.schema_).items())


def test_the_columns_are_those_of_version_1(job):
    assert described(job) == GOLDEN.read_text()


def test_a_feature_that_is_called_like_one_of_our_columns_gives_way():
    schema = {
        "features": {
            "position": {"from": "context.rank"},
            "event_hour": {"from": "context.hour"},
            "item_id": {"from": "item.item_id"},
        },
        "labels": {"stars": {"action": "rate", "kind": "number"}},
    }
    found = columns(JoinJob.model_validate({**JOB, "schema": schema}).schema_)
    assert found["position"] == "INT"
    assert found["feature:position"] == found["feature:event_hour"] == "BIGINT"
    assert found["item_id"] == "STRING"
    assert "feature:item_id" not in found
    assert found["otherwise:stars"] == "FLOAT"


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


@pytest.fixture
def cluster(tmp_path):
    from jobs.stack.layout import JARS

    if shutil.which("java") is None or not (JARS / "archive").exists():
        pytest.skip("needs a JDK and the jars (`make setup`)")
    started = Cluster(tmp_path, {"checkpoint_interval_s": 1.0, "compact_every": COMPACT_EVERY})
    yield started
    for process in reversed(started.processes):
        process.kill()


def wait_for(condition, what, retry=(), patience_s=PATIENCE_S):
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        try:
            if value := condition():
                return value
        except retry:
            pass
        time.sleep(0.2)
    raise AssertionError(f"waited {patience_s} s in vain for {what}")


def example(number, item):
    """One whose every value is another; sometimes without some."""
    features = {"user_id": number, "country": f"é{number}", "price": number + 0.5}
    if number % 3:
        features |= {"tags": [f"t{number}", "t"], "parents": [number, -1]}
    return Example(
        request_id=f"r{number}",
        item_id=str(item),
        ts_ms=START_MS + number * 7001 % (3 * HOUR_MS),
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

    def __init__(self, bootstrap):
        from confluent_kafka import Producer

        self.producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "w", "log_level": 0})
        self.producer.init_transactions(30)
        self.number = 0

    def write(self, transactions):
        for _ in range(transactions):
            self.producer.begin_transaction()
            for _ in range(20):
                self.number += 1
                examples = [example(self.number, item) for item in range(self.number % 4)]
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


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_killed_task_manager_leaves_every_example_in_the_archive_once(cluster):
    import pandas as pd

    folder = cluster.run.path / "archive"
    task_manager = cluster.start_task_manager()
    cluster.submit()
    writer = Writer(cluster.job.kafka.bootstrap)
    writer.write(30)
    wait_for(lambda: count(folder), "the first files")
    seen = count(folder)
    while count(folder) == seen:
        writer.write(2)
    task_manager.kill()
    writer.write(30)
    cluster.start_task_manager()
    while not task_manager_has_returned(cluster):
        writer.write(2)
    writer.write(30)
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "the rest of the files")

    rows = in_files(folder)
    assert_rows_are_the_examples_of_the_topic(rows, expected)
    by_pandas = pd.read_parquet(folder)
    assert Counter(places(by_pandas)) == Counter(expected.keys())
    checkpoints = cluster.flink.rest.get(f"/jobs/{job_id(cluster)}/checkpoints")["counts"]["completed"]
    hours = len(list(folder.glob("*/*")))
    # One more each for the restart and for the rounds that have begun.
    assert len(list(folder.glob("*/*/compacted-*"))) <= hours * (checkpoints / COMPACT_EVERY + 3)

    # A stopped archive has all that it has read; a resumed one goes on there.
    writer.write(5)
    cluster.flink.begin_stop(is_embedded=True).wait(PATIENCE_S)
    assert not list(folder.glob("*/*/.part-*.parquet"))
    stopped = in_files(folder)
    in_order = stopped.sort_values(["partition", "sequence"])
    assert all(
        list(those["sequence"]) == list(range(len(those))) for _, those in in_order.groupby("partition")
    )
    cluster.submit(resume=True)
    writer.write(5)
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "what came after the stop")
    assert_rows_are_the_examples_of_the_topic(in_files(folder), expected)


def job_id(cluster):
    return cluster.flink.rest.live_job(cluster.flink.name)["jid"]


def task_manager_has_returned(cluster):
    """Whether the job has written a checkpoint since."""
    found = cluster.flink.rest.get(f"/jobs/{job_id(cluster)}/checkpoints")
    return found["latest"]["restored"] and (
        found["latest"]["completed"]["id"] > found["latest"]["restored"]["id"] + COMPACT_EVERY
    )


def places(rows):
    return zip(rows["topic"], rows["partition"], rows["offset"], rows["position"], strict=True)


def assert_rows_are_the_examples_of_the_topic(rows, expected):
    from pipelines.codec import decode_example

    assert Counter(places(rows)) == Counter(expected.keys())
    assert all(
        row.example == expected[place] for place, row in zip(places(rows), rows.itertuples(), strict=True)
    )
    for partition, those in rows.groupby("partition"):
        assert sorted(those["sequence"]) == list(range(len(those))), partition
        in_order = those.sort_values("sequence")
        assert list(places(in_order)) == sorted(places(those))
    for row in rows.to_dict("records"):
        example = decode_example(row["example"])
        assert row["event_day"].timestamp() + 3600 * row["event_hour"] == example.ts_ms // HOUR_MS * 3600
        assert (row["request_id"], row["item_id"], row["ts"]) == (
            example.request_id,
            example.item_id,
            example.ts_ms,
        )
        assert row["label:click"] == example.labels["click"]
        assert row["mask:click_soon"] == example.masks["click_soon"]
        assert row["country"] == example.features["country"][0]
        assert row["price"] == example.features["price"][0]
        assert list(row["tags"] if row["tags"] is not None else []) == example.features.get("tags", [])
        assert row["scores"] == example.scores
