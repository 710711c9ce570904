"""The joiner on a Flink cluster of the user's own, by the commands that users give."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import orjson
import pytest
from confluent_kafka import Producer

from jobs.kubernetes import check_kubernetes, manifest
from jobs.load import load_job
from jobs.spec import Job
from jobs.stack.addresses import free_addresses, free_ports, resolve
from jobs.stack.broker import Broker, answers, create_topics, jars, java
from jobs.stack.flink import Flink
from jobs.stack.layout import PROJECT, RunDirectory
from jobs.stack.process import Process
from jobs.stack.rest import FlinkRest, FlinkUnreachableError, is_running
from jobs.summary.outcomes import read_outcomes
from jobs.topics import read_topic
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

FILMS = """
name: films
kafka: {{bootstrap: "{kafka}", client: {{client.id: "${{FILMS_CLIENT}}"}}}}
schema:
  features:
    user_id: {{from: user.user_id}}
    item_id: {{from: item.item_id}}
  labels:
    click: {{action: click, window_s: 600}}
joiner: {{engine: jvm, state_url: "{state_url}"}}
kubernetes: {{image: "registry/films:1"}}
"""
REQUESTS = 20


class Own(NamedTuple):
    """A broker, and a standalone Flink cluster as it is unpacked: nothing of Freshet, Kafka or Python."""

    job: Job
    file: Path
    run: RunDirectory
    flink: Flink

    def freshet(self, *arguments: str, status: int = 0, on: str | None = None) -> str:
        command = [sys.executable, "-m", "jobs", *arguments, "--flink-master", on or self.flink.address]
        env = {**os.environ, "FILMS_CLIENT": "films", "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(
            command, cwd=self.run.path, env=env, capture_output=True, text=True, timeout=240
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        # What is said beside a result must not be taken for part of it.
        return said if status else done.stdout

    def send(self, topic: str, event: Callable[[int], dict[str, Any]]) -> None:
        producer = Producer({"bootstrap.servers": self.job.kafka.bootstrap})
        for number in range(REQUESTS):
            told = {"request_id": f"r{number}", "ts": time.time_ns() // 1_000_000, **event(number)}
            producer.produce(topic, orjson.dumps(told), key=f"r{number}".encode())
        assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("own")
    run = RunDirectory(folder / "run")
    run.path.mkdir()
    run.create()
    kafka = next(addresses := free_addresses())
    file = folder / "films.yaml"
    file.write_text(FILMS.format(kafka=kafka, state_url=(folder / "state").as_uri()))
    job = resolve(load_job(file, keeps_secrets=True))
    broker = Broker(run.kafka, kafka, next(addresses), job.kafka)
    broker.prepare()
    process = Process(broker.command, run.logs / "broker.log")
    flink = Flink(job, run)
    try:
        with _cluster(flink.address, folder / "stock"):
            wait_for(lambda: answers(kafka, {}), "the broker")
            yield Own(job, file, run, flink)
    finally:
        process.kill()


def _home() -> Path:
    spec = importlib.util.find_spec("pyflink")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@contextmanager
def _cluster(address: str, folder: Path, *more: Path, **options: object) -> Iterator[FlinkRest]:
    """Flink as it is unpacked, with `more` jars in `lib/`, while the block runs."""
    home, library, scratch = _home(), folder / "lib", folder / "tmp"
    bin_folder = str(Path(sys.executable).parent)
    for place in (library, scratch):
        place.mkdir(parents=True)
    for jar in (*home.glob("lib/*.jar"), *more):
        (library / jar.name).symlink_to(jar)
    env = {
        "FLINK_HOME": str(home),
        "FLINK_CONF_DIR": str(home / "conf"),
        "FLINK_LIB_DIR": str(library),
        "FLINK_LOG_DIR": str(scratch),
        "FLINK_PID_DIR": str(scratch),
        # The interpreter's folder is there only for those that run Python.
        "PATH": os.pathsep.join([*([bin_folder] if more else []), str(Path(java()).parent), os.defpath]),
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch} -XX:-UsePerfData",
    }
    host, _, port = address.rpartition(":")
    ports = free_ports()
    options |= {"rest.address": host, "rest.port": port, "rest.bind-port": port, "io.tmp.dirs": scratch}
    options |= {"jobmanager.rpc.port": next(ports), "blob.server.port": next(ports)}
    dynamic = [part for name, value in options.items() for part in ("-D", f"{name}={value}")]
    processes = [
        Process([str(home / "bin" / f"{role}.sh"), "start-foreground", *dynamic], folder / f"{role}.log", env)
        for role in ("jobmanager", "taskmanager")
    ]
    try:
        rest = FlinkRest(address)
        wait_for(lambda: _slots(rest), "the TaskManager")
        yield rest
    finally:
        for process in processes:
            process.kill()


def _slots(rest: FlinkRest) -> int:
    try:
        return int(rest.get("/overview")["slots-total"])
    except FlinkUnreachableError:
        return 0


def _live(rest: FlinkRest) -> dict[str, Any] | None:
    try:
        live = rest.live_job("films")
    except FlinkUnreachableError:
        return None
    return live if live is not None and is_running(live) else None


@pytest.mark.timeout(600)
def test_a_joiner_is_submitted_stopped_and_goes_on_from_its_savepoint(own: Own) -> None:
    said = own.freshet("submit", str(own.file), "--json")
    first = json.loads(said)
    assert first["state"] == "RUNNING"
    assert first["job_id"] in own.freshet("submit", str(own.file), status=1)

    items = [{"item_id": item} for item in range(2)]
    own.send("features", lambda number: {"user": {"user_id": number}, "items": items})
    wait_for(lambda: _has_read(own, REQUESTS), "the joiner to read all requests")
    stopped = json.loads(own.freshet("stop", str(own.file), "--json"))
    assert stopped["job_id"] == first["job_id"]
    assert (Path(urlparse(stopped["savepoint"]).path) / "_metadata").exists()
    refusal = own.freshet("submit", str(own.file), status=1)
    assert f"{stopped['savepoint']}: go on from it by --resume" in refusal

    second = json.loads(
        own.freshet("submit", str(own.file), "--from-savepoint", stopped["savepoint"], "--json")
    )
    restored = own.flink.rest.get(f"/jobs/{second['job_id']}/checkpoints")["latest"]["restored"]
    assert restored["external_path"] == stopped["savepoint"]
    own.send("actions", lambda number: {"item_id": number % 2, "action": "click"})
    # What waited in the savepoint meets its action, once.
    assert wait_for(lambda: _positives(own), "the positives") == sorted(
        (f"r{number}", str(number % 2)) for number in range(REQUESTS)
    )
    own.freshet("stop", str(own.file), "--cancel")
    wait_for(lambda: own.flink.rest.live_job("films") is None, "the job to be cancelled")


@pytest.mark.timeout(600)
def test_a_backfill_is_followed_to_its_end_and_added_up(own: Own) -> None:
    create_topics(own.job.kafka)
    items = [{"item_id": item} for item in range(2)]
    own.send("features", lambda number: {"user": {"user_id": number}, "items": items})
    own.send("actions", lambda number: {"item_id": number % 2, "action": "click"})
    again = ("--set", "kafka.topics.examples=again", "--set", "kafka.topics.dead_letters=again-dead")
    backfill = ("submit", str(own.file), "--set", "joiner.input.kind=kafka", *again)
    told = json.loads(own.freshet(*backfill, "--json"))
    assert told["state"] == "FINISHED"
    newest = own.flink.rest.newest_job("films-backfill")
    assert newest is not None
    assert (told["job"], told["job_id"]) == ("films-backfill", newest["jid"])
    accounting = told["accounting"]
    assert accounting["closes"]
    assert [accounting[name] for name in ("in", "out", "waiting")] == [2 * REQUESTS, REQUESTS, REQUESTS]
    assert "again has examples already" in own.freshet(*backfill, status=1)


def _has_read(own: Own, records: int) -> bool:
    """By the offsets that it commits with its checkpoints."""
    from jobs.topics import JoinerOffsets

    offsets = JoinerOffsets(own.job, "features")
    read = sum(offsets.read().values())
    offsets.close()
    return read >= records


def _positives(own: Own) -> list[tuple[str, str]] | None:
    outcomes = read_outcomes(read_topic(own.job, "examples"), ["click"])
    pairs = sorted(zip(outcomes.request_ids, outcomes.item_ids, strict=True))
    return pairs if len(pairs) >= REQUESTS else None


@pytest.mark.timeout(600)
def test_a_dry_run_can_be_pasted_into_a_shell_that_knows_nothing(own: Own, tmp_path: Path) -> None:
    """With the engine that runs Python on the cluster, which is to have what `docs/clusters.md` says."""
    engine = ("--set", "joiner.engine=python")
    address = next(free_addresses())
    line = own.freshet("submit", str(own.file), *engine, "--dry-run", "--run-dir", "pasted", on=address)
    bare = {"PATH": os.defpath, "HOME": str(own.run.path), "JAVA_HOME": os.environ.get("JAVA_HOME", "")}
    (flink_python,) = _home().glob("opt/flink-python-*.jar")
    with _cluster(address, tmp_path, flink_python, **{"python.executable": sys.executable}) as rest:
        shell = [shutil.which("bash") or "sh", "-c", line]
        done = subprocess.run(shell, env=bare, cwd="/", capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        live = wait_for(lambda: _live(rest), "the job to run")
        assert live["jid"] in done.stdout


@pytest.mark.timeout(600)
def test_the_manifest_of_kubernetes_describes_a_job_that_runs(own: Own, tmp_path: Path) -> None:
    """As pods would run it: an application cluster with the arguments and the files of the manifest."""
    overrides = ["joiner.state_url=s3://bucket/films", "kafka.bootstrap=kafka:9092"]
    job = load_job(own.file, overrides, (check_kubernetes,), keeps_secrets=True)
    config_map, deployment = manifest(job)
    home = tmp_path / "freshet"
    shutil.copytree(PROJECT / "pipelines", home / "pipelines")
    (home / "job").mkdir()
    settings = config_map["data"]["job.json"].replace("kafka:9092", own.job.kafka.bootstrap)
    (home / "job" / "job.json").write_text(settings)
    application = deployment["spec"]["job"]
    given = [word.replace("/opt/freshet", str(home)) for word in application["args"]]
    given = [sys.executable if word == "python3" else word for word in given]

    rest_address, ports = next(free_addresses()), free_ports()
    rpc_port, blob_port, metrics_port, other_port = (next(ports) for _ in range(4))
    cluster = Flink(
        job.model_copy(update={"joiner": job.joiner.model_copy(update={"flink_address": rest_address})}),
        RunDirectory(tmp_path),
    )
    RunDirectory(tmp_path).create()
    cluster.prepare()
    for jar in jars("joiner").glob("*.jar"):
        (tmp_path / "tmp" / "flink-lib" / jar.name).symlink_to(jar)
    manager = cluster.job_manager(rpc_port, blob_port, f"127.0.0.1:{metrics_port}")
    state = [word.replace("s3://bucket/films", (tmp_path / "state").as_uri()) for word in manager[2:]]
    script = str(Path(manager[0]).with_name("standalone-job.sh"))
    command = [script, "start-foreground", "--job-classname", application["entryClass"], *state, *given]
    env = {**cluster.env, "FILMS_CLIENT": "films"}
    processes = [
        Process(command, tmp_path / "logs" / "jm.log", env),
        Process(cluster.task_manager(rpc_port, f"127.0.0.1:{other_port}"), tmp_path / "logs" / "tm.log", env),
    ]
    try:
        wait_for(lambda: _live(cluster.rest), f"the job to run: {shlex.join(command)}")
    finally:
        for process in processes:
            process.kill()
