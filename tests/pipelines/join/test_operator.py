"""The whole joiner on a real broker and a real Flink cluster: garbage in, a TaskManager killed."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path

import orjson
import pytest

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[3]
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>freshet</groupId><artifactId>test</artifactId><version>1</version><dependencies><dependency>
<groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency></dependencies></project>"""
TOPICS = ("features", "actions", "examples", "dead-letters")
PARTITIONS = 2
PATIENCE_S = 150


@pytest.fixture(scope="module")
def jars(tmp_path_factory):
    """Folders of jars: of the broker, and of the Kafka connector."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("needs Maven and a JDK (Debian: maven, openjdk-17-jdk-headless)")
    folders = {}
    for name, artifact in {
        "broker": ("org.apache.kafka", "kafka_2.13", "4.1.0"),
        "connector": ("org.apache.flink", "flink-sql-connector-kafka", "5.0.0-2.2"),
    }.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "pom.xml").write_text(POM.format(*artifact))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars"]
        subprocess.run(["mvn", "-q", *goal], cwd=folder, check=True, timeout=200, stdout=subprocess.DEVNULL)
        folders[name] = folder / "jars"
    return folders


@pytest.fixture(scope="module")
def started():
    """`started(command, log, env)`: a process that is gone, with its children, after the tests."""
    processes = []

    def start(command, log, env=None):
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=env, start_new_session=True)
        processes.append(process)
        return process

    yield start
    for process in reversed(processes):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def bootstrap(jars, started, tmp_path_factory):
    """A broker with the four topics."""
    from confluent_kafka.admin import AdminClient, NewTopic

    folder = tmp_path_factory.mktemp("kafka")
    client, controller = free_port(), free_port()
    (folder / "server.properties").write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
log.dirs={folder}/logs
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
""")
    java = ["java", "-Xmx400m", "-cp", f"{jars['broker']}/*"]
    storage = [*java, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]
    properties = str(folder / "server.properties")
    subprocess.run([*storage, "-c", properties], check=True, capture_output=True, timeout=60)
    started([*java, "kafka.Kafka", properties], folder / "log")
    address = f"127.0.0.1:{client}"
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    config = {"max.message.bytes": str(16 << 20)}
    wait_for(lambda: admin.list_topics(timeout=2).brokers, "the broker", retry=Exception)
    for made in admin.create_topics(
        [NewTopic(topic, PARTITIONS, 1, config=config) for topic in TOPICS]
    ).values():
        made.result(30)
    return address


class Flink:
    """A standalone cluster under `flink-conf/`, with one TaskManager at a time."""

    def __init__(self, folder, started, connector):
        import pyflink

        self.home, self.folder, self.started = Path(pyflink.__file__).parent, folder, started
        library = folder / "lib"
        library.mkdir()
        for jar in (
            *self.home.glob("lib/*.jar"),
            *self.home.glob("opt/flink-python-*.jar"),
            *connector.glob("*"),
        ):
            (library / jar.name).symlink_to(jar)
        self.port, self.metrics_port = free_port(), free_port()
        python = Path(sys.executable)
        self.options = {
            "jobmanager.rpc.port": free_port(),
            "rest.port": self.port,
            "rest.bind-port": self.port,
            "io.tmp.dirs": folder / "tmp",
            "execution.checkpointing.dir": f"file://{folder}/checkpoints",
            "python.executable": python,
            "python.client.executable": python,
        }
        self.env = {
            **os.environ,
            "FLINK_HOME": str(self.home),
            "FLINK_CONF_DIR": str(ROOT / "flink-conf"),
            "FLINK_LIB_DIR": str(library),
            "FLINK_LOG_DIR": str(folder),
            "FLINK_PID_DIR": str(folder),
            "PATH": f"{python.parent}:{os.environ['PATH']}",
        }

    def start(self, role, **options):
        settings = {**self.options, **options}
        dynamic = [part for key, value in settings.items() for part in ("-D", f"{key}={value}")]
        command = [str(self.home / "bin" / f"{role}.sh"), "start-foreground", *dynamic]
        return self.started(command, self.folder / f"{role}-{time.monotonic_ns()}.log", self.env)

    def start_task_manager(self):
        return self.start("taskmanager", **{"metrics.reporter.prom.port": self.metrics_port})

    def submit(self, job):
        archive, settings = self.folder / "pipelines.zip", self.folder / "job.json"
        with zipfile.ZipFile(archive, "w") as package:
            for file in (ROOT / "pipelines").rglob("*.py"):
                package.write(file, file.relative_to(ROOT))
        settings.write_text(job.model_dump_json(by_alias=True))
        dynamic = [f"-D{key}={value}" for key, value in self.options.items()]
        script = ["-py", str(ROOT / "pipelines" / "main.py"), "--pyFiles", str(archive)]
        command = [
            str(self.home / "bin" / "flink"),
            "run",
            "-d",
            *dynamic,
            *script,
            "--settings",
            str(settings),
        ]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-4000:]

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.load(answer)

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def flink(jars, started, tmp_path_factory):
    cluster = Flink(tmp_path_factory.mktemp("flink"), started, jars["connector"])
    cluster.start("jobmanager", **{"metrics.reporter.prom.port": free_port()})
    wait_for(lambda: cluster.get("/overview"), "the JobManager", retry=OSError)
    return cluster


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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


def garbage(now_ms):
    """(record of `features`, reason of its dead letter); none may stop the stream or drag event time."""

    def at(ts_ms, request_id="bad"):
        return orjson.dumps({"request_id": request_id, "ts": ts_ms, "items": [{"item_id": 1}]})

    return [
        (None, "malformed"),
        (b"", "malformed"),
        (b"\xff\xfe\x00 not text", "malformed"),
        (b"[1, 2]", "malformed"),
        (b"[" * 500_000, "malformed"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "malformed"),
        (b'{"request_id": "\\ud800", "ts": %d, "items": [{"item_id": 1}]}' % now_ms, "malformed"),
        (b'{"request_id": "r", "ts": %d}' % now_ms, "malformed"),
        (b'{"request_id": 7, "ts": %d, "items": [{"item_id": 1}]}' % now_ms, "malformed"),
        (b'{"request_id": "r", "ts": "soon", "items": [{"item_id": 1}]}', "malformed"),
        (b'{"request_id": "r", "ts": 1e300, "items": [{"item_id": 1}]}', "malformed"),
        (b"x" * 10_000_000, "too-large"),
        (b'{"request_id": "r", "items": [' + b"1," * 5_000_000 + b"1]}", "too-large"),
        (at(0), "timestamp"),
        (at(4_102_444_800_000), "timestamp"),
        (at((1 << 63) - 1), "timestamp"),
    ]


class Traffic:
    """Sends events, and remembers what it sent, for the same join without Flink."""

    def __init__(self, bootstrap, features_event, action_event):
        from confluent_kafka import Producer

        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "message.max.bytes": 16 << 20, "log_level": 0}
        )
        self.features_event, self.action_event = features_event, action_event
        self.sent, self.random = [], random.Random(5)
        self.dead: Counter[tuple[str, str]] = Counter()

    def request(self, number):
        """One request with four items and, mostly, one reaction of some kind; some events twice."""
        now_ms, draw = time.time_ns() // 1_000_000, self.random.random()
        # Beyond the basic plane, and with a NUL: ids are text, not just letters.
        request_id = f"r{number}" + ("\U0001f600\0é" if number % 50 == 0 else "")
        events = [(False, self.features_event(request_id, now_ms, range(4)))]
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
            self.sent.append((is_action, value))
            self.produce("actions" if is_action else "features", value, request_id.encode())

    def garbage(self):
        for value, reason in garbage(time.time_ns() // 1_000_000):
            self.produce("features", value, b"bad \xff")
            self.dead["features", reason] += 1
        self.produce("actions", b"{}", None)
        self.dead["actions", "malformed"] += 1

    def close_windows(self):
        """Heartbeats far enough ahead, to every partition."""
        ahead_ms = time.time_ns() // 1_000_000 + 60_000
        for partition in range(PARTITIONS):
            self.produce("features", self.features_event("", ahead_ms, []), partition=partition)
            self.produce("actions", self.action_event("", 0, "", ahead_ms), partition=partition)
        assert self.producer.flush(30) == 0

    def produce(self, topic, value, key=None, **more):
        self.producer.produce(topic, value, key, **more)
        self.producer.poll(0)


class Reader:
    """Reads a topic as far as it is committed; `messages` grows with each `read`."""

    def __init__(self, bootstrap, topic):
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": "test",
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 16 << 20,
            "log_level": 0,
        }
        self.consumer = Consumer(settings)
        self.consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(PARTITIONS)])
        self.messages = []

    def read(self):
        while batch := self.consumer.consume(1000, timeout=1):
            self.messages += [message for message in batch if message.error() is None]
        return self.messages


def resolved(examples):
    return Counter(
        (each.request_id, each.item_id, label, each.labels[label], each.action_ts_ms)
        for each in examples
        for label, mask in each.masks.items()
        if mask
    )


@pytest.mark.timeout(600)
def test_a_killed_task_manager_and_garbage_leave_every_account_closed(
    bootstrap, flink, make_job, make_cluster, features_event, action_event
):
    from pipelines.codec import decode

    job = make_job(0.5)
    kafka = job.kafka.model_copy(update={"bootstrap": bootstrap})
    joiner = job.joiner.model_copy(update={"idle_s": 60.0, "max_event_bytes": 1 << 20})
    task_manager = flink.start_task_manager()
    flink.submit(job.model_copy(update={"kafka": kafka, "joiner": joiner}))

    lists, reader = [], Reader(bootstrap, "examples")

    def accounted_for():
        """The impressions that left as examples, and the number of those that were sampled away."""
        lists.extend(map(decode, [message.value() for message in reader.read()[len(lists) :]]))
        impressions = {(each.request_id, each.item_id) for one in lists for each in one.examples}
        return len(impressions) + sum(one.sampled_away for one in lists)

    traffic = Traffic(bootstrap, features_event, action_event)
    for number in range(1500):
        traffic.request(number)
        if number % 500 == 250:
            traffic.garbage()
    traffic.producer.flush(30)
    wait_for(accounted_for, "the first examples")
    assert "freshet_joiner_impressions" in flink.metrics()
    for number in range(1500, 3000):
        traffic.request(number)
    os.killpg(task_manager.pid, signal.SIGKILL)
    for number in range(3000, 4000):
        traffic.request(number)
    flink.start_task_manager()
    traffic.close_windows()
    wait_for(lambda: accounted_for() >= 16_000, "the rest of the examples")

    reference = make_cluster(0.5)
    for is_action, value in traffic.sent:
        reference.send(value, is_action=is_action)
    reference.finish()
    assert accounted_for() == 16_000
    assert resolved(each for one in lists for each in one.examples) == resolved(reference.examples)
    assert sum(one.sampled_away for one in lists) == reference.sampled_away

    letters = Reader(bootstrap, "dead-letters").read()
    headers = [{name: value.decode() for name, value in letter.headers()} for letter in letters]
    assert Counter((each["topic"], each["reason"]) for each in headers) == traffic.dead
    assert len({(each["topic"], each["partition"], each["offset"]) for each in headers}) == len(headers)
    sources = {
        (topic, str(message.partition()), str(message.offset())): (message.key(), message.value())
        for topic in ("features", "actions")
        for message in Reader(bootstrap, topic).read()
    }
    for letter, header in zip(letters, headers, strict=True):
        place = header["topic"], header["partition"], header["offset"]
        assert (letter.key(), letter.value()) == sources[place]
        assert header["detail"]
