"""A broker (librdkafka's own mock, over real sockets), shards that publish into it, and replica processes."""

import asyncio
import importlib.util
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import confluent_kafka
import numpy as np
import orjson
import pytest

from ps.dense_files import DenseFiles
from ps.updates import Update, encode
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 20
wait_soon = partial(wait_for, patience_s=TIMEOUT_S)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], str], Any]:
    return wait_soon


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module of the fake replica."""
    spec = importlib.util.spec_from_file_location("fake_replica", Path(__file__).with_name("fake_replica.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Broker:
    """A Kafka broker with topics of one test each."""

    def __init__(self) -> None:
        self._producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self._producer.list_topics(timeout=5).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def send(self, topic: str, value: bytes, key: str = "0") -> None:
        self._producer.produce(topic, value=value, key=key)
        assert self._producer.flush(10) == 0

    def make_topic(self, topic: str) -> str:
        """Topics come into being when they are asked for."""
        wait_soon(lambda: self._producer.list_topics(topic, timeout=5).topics[topic].error is None, topic)
        return topic


@pytest.fixture(scope="session")
def broker() -> Broker:
    return Broker()


@pytest.fixture
def topic(broker, request) -> str:
    return broker.make_topic(f"updates-{abs(hash(request.node.nodeid))}")


@dataclass
class FakeShard:
    """Publishes what a test says, in sequence."""

    broker: Broker
    topic: str
    index: int
    dense_dir: Path
    epoch: int = 1
    sequence: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def update(self, rows: dict[str, dict[int, float]] | None = None, **fields: Any) -> Update:
        epoch = fields.pop("epoch", self.epoch)
        return Update(
            shard=self.index,
            shards=2,
            epoch=epoch,
            life=fields.pop("life", epoch),
            sequence=fields.pop("sequence", None) or next(self.sequence),
            rows={
                table: (np.array(list(values)), np.array([[v] for v in values.values()], np.float32))
                for table, values in (rows or {}).items()
            },
            published_ms=time.time_ns() // 1_000_000,
            **fields,
        )

    def send(self, update: Update) -> Update:
        self.broker.send(self.topic, encode(update), str(self.index))
        return update

    def publish(self, rows: dict[str, dict[int, float]] | None = None, **fields: Any) -> Update:
        return self.send(self.update(rows, **fields))

    def publish_dense(self, bias: float) -> int:
        tensors = {"bias": np.full(1, bias, np.float32)}
        reference = DenseFiles(self.dense_dir.as_uri(), self.index).write(tensors)
        self.publish(dense=reference)
        return reference.version


@pytest.fixture
def shards(broker, topic, tmp_path) -> list[FakeShard]:
    return [FakeShard(broker, topic, index, tmp_path / "ps") for index in range(2)]


class Replica:
    """A running replica process."""

    def __init__(self, command: list[str], log: Path) -> None:
        with log.open("ab") as stderr:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)
        line = self.process.stdout.readline()
        assert line, log.read_text()
        self.url = f"http://{orjson.loads(line)['address']}"
        self.log = log

    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and body, from JSON where it is that."""

        async def ask() -> tuple[int, Any]:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, self.url + path, **options) as response,
            ):
                body = await response.read()
                is_json = response.content_type == "application/json"
                return response.status, orjson.loads(body) if is_json else body.decode()

        return asyncio.run(ask())

    def get(self, path: str) -> Any:
        return self.ask("GET", path)[1]

    def predict(self, user_id: int, *item_ids: int) -> dict[str, Any]:
        body = {"request_id": "r", "user": {"user_id": user_id}, "items": [{"item_id": i} for i in item_ids]}
        status, answer = self.ask("POST", "/v1/predict", data=orjson.dumps(body))
        assert status == 200, answer
        return answer

    def score(self, user_id: int, item_id: int, label: str = "click") -> float:
        return self.predict(user_id, item_id)["items"][0]["scores"][label]

    def wait_ready(self) -> None:
        wait_soon(lambda: self.ask("GET", "/readyz")[0] == 200, f"ready: {self.get('/readyz')}")

    def wait_applied(self, count: int) -> dict[str, Any]:
        wait_soon(lambda: self.get("/v1/status")["updates"]["applied"] >= count, f"{count} updates applied")
        return self.get("/v1/status")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> int:
        self.process.terminate()
        status = self.process.wait(TIMEOUT_S)
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def launch(broker) -> Iterator[Callable[[str, Path], Replica]]:
    """Starts a replica on a topic, with its state in a directory."""
    replicas = []

    def launch(topic: str, directory: Path) -> Replica:
        script = Path(__file__).with_name("fake_replica.py")
        arguments = [str(directory / "state"), broker.address, topic, "127.0.0.1:0"]
        replicas.append(Replica([sys.executable, str(script), *arguments], directory / "replica.log"))
        return replicas[-1]

    yield launch
    for replica in replicas:
        if replica.process.poll() is None:
            replica.kill()


@pytest.fixture
def start_replica(launch, topic, tmp_path) -> Callable[[], Replica]:
    """Starts a replica on this test's topic; its state stays from one start to the next."""
    return lambda: launch(topic, tmp_path)
