"""The demo, looked at with other people's tools; the tests share one run."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from ruamel.yaml import YAML

from jobs.stack.addresses import free_addresses
from tests.loop.conftest import JOBS, ROOT, Started
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

MESSAGE_BYTES = 16 << 20
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def demo(start: Callable[..., Started]) -> Iterator[Started]:
    settings = ("traffic.freeze_after_s=15", "snapshots.interval_s=5", "joiner.task_managers=2")
    running = start(JOBS / "demo.yaml", *(part for each in settings for part in ("--set", each)))
    running.wait_until_ready()
    return running


def messages(demo: Started, topic: str) -> list:
    from jobs.spec import Job
    from jobs.topics import read_topic

    return list(read_topic(Job.model_validate(demo.job), topic))


def test_a_request_is_answered_with_scores_and_the_age_of_the_parameters(demo: Started) -> None:
    line = next(line for line in demo.said.splitlines() if "/v1/predict" in line)
    url, body = re.search(r"curl -s (\S+) -d '(.*)'", line).groups()
    asked = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    answer = json.loads(urllib.request.urlopen(asked, timeout=10).read())
    assert all(0 < item["scores"]["click"] < 1 for item in answer["items"])
    assert answer["parameters"]["age_ms"] is not None, answer


def test_events_that_make_no_sense_become_dead_letters_and_the_stream_goes_on(demo: Started) -> None:
    from confluent_kafka import Producer

    now_ms = int(time.time() * 1000)

    def request(**changes: object) -> bytes:
        return orjson.dumps({"request_id": "bad", "ts": now_ms, "items": [{"item_id": 1}], **changes})

    garbage = {
        "malformed": [b"{not json", orjson.dumps({"request_id": "bad", "ts": now_ms}), request(ts="noon")],
        "too-large": [
            b'{"request_id": "bad", "items": [' + b" " * 10_000_000 + b"]}",
            # The broker takes them compressed; the letter is written without them.
            b'{"request_id": "bad", "items": [' + b'{"item_id":1},' * 1_400_000 + b'{"item_id":2}]}',
            b'{"request_id": "bad", "items": [' + b" " * (MESSAGE_BYTES - 200) + b"]}",
            # 110 kB, from which 60 MB of examples would be made.
            request(user={"country": "x" * 100_000}, items=[{"item_id": n} for n in range(600)]),
        ],
        "timestamp": [request(ts=0), request(ts=now_ms + 75 * 365 * DAY_MS)],
    }
    settings = {"compression.type": "lz4", "message.max.bytes": 2 * MESSAGE_BYTES}
    producer = Producer({"bootstrap.servers": demo.job["kafka"]["bootstrap"], **settings})
    for value in (value for values in garbage.values() for value in values):
        producer.produce("features", value, key=b"bad")
    assert producer.flush(30) == 0

    def reasons() -> list[str]:
        letters = [dict(each.headers()) for each in messages(demo, "dead-letters") if each.key() == b"bad"]
        return sorted(letter["reason"].decode() for letter in letters)

    expected = sorted(reason for reason, values in garbage.items() for _ in values)
    wait_for(lambda: len(reasons()) >= len(expected), "the dead letters", 60)
    assert reasons() == expected
    before = len(messages(demo, "examples"))
    wait_for(lambda: len(messages(demo, "examples")) > before, "more examples after the garbage", 60)


def test_tensorflow_reads_the_examples(demo: Started) -> None:
    import tensorflow as tf

    features = {
        "user_id": tf.io.FixedLenFeature([], tf.int64),
        "label:click": tf.io.FixedLenFeature([], tf.float32),
        "sampling_rate": tf.io.FixedLenFeature([], tf.float32),
    }

    def column(name: str) -> set[float]:
        values = [message.value() for message in messages(demo, "examples")]
        serialized = [one for value in values for one in tf.train.BytesList.FromString(value).value]
        return set(tf.io.parse_example(serialized, features)[name].numpy()) if serialized else set()

    # Positives come at once, negatives when the first window has closed.
    wait_for(lambda: column("label:click") == {0.0, 1.0}, "examples of both kinds", 60)
    assert column("sampling_rate") == {0.5}


def test_duckdb_reads_the_snapshots(demo: Started) -> None:
    import duckdb

    files = demo.directory / "snapshots" / "shard-*" / "*" / "tables" / "user_id.parquet"

    def rows() -> int:
        found = list(demo.directory.glob("snapshots/shard-*/*/tables/user_id.parquet"))
        return duckdb.sql(f"select count(distinct id) from '{files}'").fetchall()[0][0] if found else 0

    assert wait_for(rows, "rows in a snapshot", 60) > 0
    assert duckdb.sql(f"select distinct len(embedding) from '{files}'").fetchall() == [(9,)]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian: apt install prometheus)"
)
def test_promtool_finds_nothing_wrong_with_the_metrics_of_our_parts(demo: Started) -> None:
    job = demo.job
    own = [
        *job["ps"]["metrics_addresses"],
        *job["trainer"]["metrics_addresses"],
        *job["serving"]["addresses"],
    ]
    for address in (*own, job["traffic"]["metrics_address"]):
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=demo.get(address, "/metrics"),
            capture_output=True,
            text=True,
        )
        assert checked.returncode == 0, f"{address}: {checked.stdout}{checked.stderr}"


def test_flinks_own_command_lists_the_joiner_and_takes_a_savepoint(demo: Started, tmp_path: Path) -> None:
    import pyflink

    home = Path(pyflink.__file__).parent
    env = {**os.environ, "FLINK_HOME": str(home), "FLINK_CONF_DIR": str(ROOT / "flink-conf")}
    env |= {"FLINK_LOG_DIR": str(tmp_path)}

    def flink(*arguments: str) -> str:
        command = [str(home / "bin" / "flink"), *arguments]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    address = demo.job["joiner"]["flink_address"]
    listed = flink("list", "-m", address)
    job_id = re.search(r": (\w{32}) : demo \(RUNNING\)", listed).group(1)
    assert "Savepoint completed" in flink("savepoint", "-m", address, job_id, f"file://{tmp_path}")
    assert list(tmp_path.glob("savepoint-*/_metadata"))


@pytest.fixture
def alone(demo: Started, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`alone(role, index)` starts one part of another job on the demo's broker and Flink cluster."""
    job = {**demo.job, "name": "alone", "traffic": {"kind": "simulated", "requests_per_s": 20}}
    topics = {name: f"alone-{name}" for name in job["kafka"]["topics"]}
    job["kafka"] = {**job["kafka"], "topics": topics}
    free = free_addresses()
    for block, keys in {"ps": 2, "trainer": 1, "serving": 1}.items():
        for key in ("addresses", "metrics_addresses"):
            if key in job[block]:
                job[block] = {**job[block], key: [next(free) for _ in range(keys)]}
    job["traffic"]["metrics_address"], job["dashboard"] = next(free), {"address": next(free)}
    file = tmp_path / "alone.yaml"
    YAML().dump(job, file)
    started = []

    def start_role(role: str, index: int = 0) -> subprocess.Popen[bytes]:
        directory = tmp_path / f"{role}-{index}"
        command = [sys.executable, "-m", "jobs", "run", str(file), "--role", role, "--index", str(index)]
        command += ["--run-dir", str(directory)]
        with directory.with_suffix(".log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield start_role
    for process in started:
        process.terminate()
    assert [process.wait(30) for process in started] == [0] * len(started)
    jobs = json.loads(demo.get(job["joiner"]["flink_address"], "/jobs/overview"))["jobs"]
    (running,) = (each["jid"] for each in jobs if each["name"] == "alone")
    cancel = f"http://{job['joiner']['flink_address']}/jobs/{running}?mode=cancel"
    urllib.request.urlopen(urllib.request.Request(cancel, method="PATCH"), timeout=10).close()


def test_every_role_starts_alone_against_the_addresses_of_the_file(
    demo: Started, alone: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    joiner = alone("joiner")
    for role, index in (
        ("ps", 0),
        ("ps", 1),
        ("trainer", 0),
        ("replica", 0),
        ("dashboard", 0),
        ("traffic", 0),
    ):
        alone(role, index)
    assert joiner.wait(120) == 0
    job = YAML(typ="safe").load(tmp_path / "alone.yaml")

    def learnt() -> float:
        try:
            metrics = demo.get(job["trainer"]["metrics_addresses"][0], "/metrics")
        except OSError:
            return 0.0
        name = "freshet_trainer_examples_total "
        return next(float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name))

    wait_for(lambda: learnt() > 100, "the parts of another job to learn")

    def applied() -> int:
        return json.loads(demo.get(job["serving"]["addresses"][0], "/v1/status"))["updates"]["applied"]

    wait_for(lambda: applied() > 0, "its replica to follow")
    assert "<html" in demo.get(job["dashboard"]["address"], "/")


def test_freshet_status_names_every_part(demo: Started) -> None:
    command = [sys.executable, "-m", "jobs", "status", str(demo.directory), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    states = {part["name"]: part["state"] for part in json.loads(done.stdout)["observation"]["parts"]}
    roles = json.loads((demo.directory / "roles.json").read_text())
    assert states == {part["name"]: "ready" for part in roles["parts"]}, done.stdout + done.stderr


def test_ctrl_c_ends_with_a_summary_that_closes_and_leaves_nothing_behind(demo: Started) -> None:
    wait_for(lambda: demo.traffic()["impressions"] > 15_000, "enough traffic to judge by")
    assert demo.interrupt() == 0, demo.said
    summary = demo.summary()
    accounting = summary["accounting"]
    parts = [accounting[name] for name in ("out", "sampled", "unlabelled", "dead", "waiting")]
    assert accounting["in"] == sum(parts)
    assert accounting["closes"], accounting
    # Nine events of the garbage, of which the one that could be read had 600 items.
    assert accounting["dead"] == 608, accounting
    assert summary["auc_frozen"] < summary["auc_online"] < summary["auc_best"]
    assert summary["freshness_p50_ms"] < summary["freshness_p99_ms"]
    # What --resume goes on from.
    assert list((demo.directory / "flink" / "savepoints").glob("*/_metadata")), demo.said
    demo.assert_nothing_is_left()
