"""A Kafka broker of the run's own, in KRaft mode, and the topics that a job needs on any broker."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from jobs.errors import JobError
from jobs.stack.addresses import LOOPBACK
from jobs.stack.layout import JARS
from pipelines.settings import LONGEST_TRANSACTION_S, KafkaSettings

_CLUSTER_ID = "ZnJlc2hldC1lbWJlZGRlZA"
"""Base64 of 16 bytes; the same for ever, so that a resumed run knows its directory again."""
_HEAP_MB = 384
_JAVA = ("-XX:+UseSerialGC", "-XX:-UsePerfData")
"""Small, and nothing left in the temporary directory."""
_ANSWER_S, _CREATE_S = 5.0, 30.0
_CLIENT_LOG = {"log_level": "0"}
"""librdkafka's own complaints are left out: what matters is raised."""


def java() -> str:
    """The JVM to run; raises JobError when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        raise JobError(
            "java: not on PATH or in JAVA_HOME; install JDK 17 (Debian: apt install openjdk-17-jdk-headless)."
        )
    return found


def jars(name: str) -> Path:
    """The folder of the jars called `name`; raises JobError when set-up has not fetched them."""
    folder = JARS / name
    if not any(folder.glob("*.jar")):
        raise JobError(f"{folder} holds no jars; run `make setup`.")
    return folder


class Broker:
    """How the embedded broker is set up and started; its data stay in `directory`."""

    def __init__(self, directory: Path, address: str, controller_address: str, kafka: KafkaSettings) -> None:
        self._directory = directory
        self._file = directory / "server.properties"
        self._properties = _properties(directory, address, controller_address, kafka.max_message_bytes)
        self._class_path = ["-cp", f"{jars('broker')}/*"]

    def prepare(self) -> None:
        """Write the configuration and format the directory, once; raises JobError."""
        lines = "".join(f"{name}={value}\n" for name, value in self._properties.items())
        self._file.write_text(lines)
        if (self._directory / "data" / "meta.properties").exists():
            return
        storage = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(self._file)]
        done = subprocess.run(
            [java(), "-XX:TieredStopAtLevel=1", *_JAVA, *self._class_path, *storage],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise JobError(
                f"{self._directory}: the broker's directory can't be formatted: {done.stderr.strip()}"
            )

    @property
    def command(self) -> list[str]:
        """What starts it in the foreground."""
        heap = [f"-Xmx{_HEAP_MB}m", f"-Xms{_HEAP_MB // 4}m"]
        return [java(), *heap, *_JAVA, *self._class_path, "kafka.Kafka", str(self._file)]


def _properties(directory: Path, address: str, controller: str, max_message_bytes: int) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": directory / "data",
        "message.max.bytes": max_message_bytes,
        "replica.fetch.max.bytes": max_message_bytes,
        # Replayed events are years old: retention by time would delete them as they arrive.
        "log.retention.ms": -1,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        # One broker, one machine: small.
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        # A run may be resumed weeks later, with the transactions that its checkpoint names.
        "transactional.id.expiration.ms": 1000 * LONGEST_TRANSACTION_S,
        "transaction.max.timeout.ms": 1000 * LONGEST_TRANSACTION_S,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
    }


def answers(address: str, client: Mapping[str, str]) -> bool:
    """Whether a broker answers at `address` within a few seconds."""
    admin = AdminClient({**client, "bootstrap.servers": address, **_CLIENT_LOG})
    try:
        return bool(admin.list_topics(timeout=_ANSWER_S).brokers)
    except KafkaException:
        return False


def check_broker(kafka: KafkaSettings) -> None:
    """Raise JobError unless the job's own broker answers."""
    if kafka.bootstrap != "embedded" and not answers(kafka.bootstrap, kafka.client):
        raise JobError(
            f"kafka.bootstrap: no broker answers at {kafka.bootstrap}; start it, correct the address "
            f"or kafka.client, or write `embedded` for a broker of the run's own."
        )


def create_topics(kafka: KafkaSettings) -> None:
    """Create those of the five topics that are missing: one copy on loopback, elsewhere the broker's default.

    Raises JobError when the broker refuses.
    """
    admin = AdminClient({**kafka.client, "bootstrap.servers": kafka.bootstrap, **_CLIENT_LOG})
    copies = 1 if kafka.bootstrap.startswith(LOOPBACK) else -1
    config = {"max.message.bytes": str(kafka.max_message_bytes)}
    missing = set(kafka.topics.model_dump().values()) - set(admin.list_topics(timeout=_CREATE_S).topics)
    if not missing:
        return
    wanted = [NewTopic(topic, kafka.partitions, copies, config=config) for topic in sorted(missing)]
    for topic, created in admin.create_topics(wanted).items():
        try:
            created.result(_CREATE_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise JobError(f"kafka.topics: {topic} can't be created: {error.args[0].str()}.") from error
