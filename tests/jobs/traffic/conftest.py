import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from aiohttp import web
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from jobs.spec import Job
from tests.jobs.topics import Topics

SCHEMA = {
    "features": {
        "user_id": {"from": "user.user_id"},
        "item_id": {"from": "item.item_id"},
        "author_id": {"from": "item.author_id"},
        "tag": {"from": "item.tag", "many": True},
        "tab": {"from": "context.tab"},
    },
    "labels": {
        "is_click": {"action": "click", "window_s": 10},
        "long_view": {"action": "long_view", "window_s": 20},
    },
}


@pytest.fixture
def make_job(topics: Topics) -> Callable[..., Job]:
    def make(traffic: dict[str, Any], **blocks: Any) -> Job:
        return Job.model_validate(
            {"name": "test", "kafka": topics.kafka, "schema": SCHEMA, "traffic": traffic, **blocks}
        )

    return make


@pytest.fixture
def read(bootstrap: str) -> Callable[[str], list[Message]]:
    """All messages of a topic, partition by partition."""

    def read_all(topic: str) -> list[Message]:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        partitions = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        messages: list[Message] = []
        while partitions:
            for message in consumer.consume(1000, 0.1):
                if message.error() is None:
                    messages.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    partitions.discard(message.partition())
        consumer.close()
        return messages

    return read_all


class FakeReplica:
    """Answers like a serving replica with a score of one over the item's number; can be away, or refuse."""

    def __init__(self) -> None:
        self.questions: list[dict[str, Any]] = []
        self.frozen_after: int | None = None
        self.status = 200
        self.address = ""

    async def predict(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status, text="not today")
        question = orjson.loads(await request.read())
        self.questions.append(question)
        names = ["is_click"] if self.frozen_after is None else ["is_click", "is_click@frozen"]
        items = [
            {"item_id": item["item_id"], "scores": dict.fromkeys(names, 1 / (1 + abs(item["item_id"])))}
            for item in question["items"]
        ]
        return web.Response(body=orjson.dumps({"items": items, "parameters": {"age_ms": 1}}))

    async def freeze(self, _: web.Request) -> web.Response:
        self.frozen_after = sum(len(question["items"]) for question in self.questions)
        return web.Response()

    async def ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200)


@pytest.fixture
def replica() -> Iterator[FakeReplica]:
    fake, loop, started = FakeReplica(), asyncio.new_event_loop(), threading.Event()
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/predict", fake.predict),
            web.post("/v1/freeze", fake.freeze),
            web.get("/readyz", fake.ready),
        ]
    )
    runner = web.AppRunner(app, access_log=None)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        fake.address = f"{host}:{port}"
        started.set()

    def serve() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(10)
    yield fake
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
