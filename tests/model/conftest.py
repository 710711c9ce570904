"""A schema with every kind of feature, examples of it, and shards inside the test process."""

from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka
import numpy as np
import pytest

from model.features import table_settings
from pipelines.codec import encode_example
from pipelines.records import Example, extract
from pipelines.schema import ExampleSchema
from ps.push import Push
from ps.router import shard_of, shard_of_name
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import Shard

SCHEMA = {
    "features": {
        "user_id": {"from": "user.user_id"},
        "country": {"from": "user.country", "type": "string"},
        "liked": {"from": "user.liked", "many": True, "table": "item_id"},
        "words": {"from": "user.words", "type": "string", "many": True},
        "hour": {"from": "context.hour"},
        "item_id": {"from": "item.item_id"},
        "length": {"from": "item.length", "type": "float", "boundaries": [1, 10, 100]},
        "sizes": {"from": "item.sizes", "type": "float", "many": True, "boundaries": [0.5]},
        "price": {"from": "item.price", "type": "float"},
        "marks": {"from": "item.marks", "type": "float", "many": True},
    },
    "crosses": {
        "country_hour": {"of": ["country", "hour"]},
        "liked_words": {"of": ["liked", "words"], "table": "crossed"},
    },
    "labels": {"click": {"action": "click"}},
}


@pytest.fixture(scope="session")
def schema() -> ExampleSchema:
    return ExampleSchema.model_validate(SCHEMA)


@pytest.fixture(scope="session")
def small() -> ExampleSchema:
    """Two ids and nothing else."""
    features = {"user_id": {"from": "user.user_id"}, "item_id": {"from": "item.item_id"}}
    return ExampleSchema.model_validate({"features": features, "labels": {"click": {"action": "click"}}})


@pytest.fixture(scope="session")
def mixed() -> ExampleSchema:
    """Two ids, a label of each kind."""
    features = {"user_id": {"from": "user.user_id"}, "item_id": {"from": "item.item_id"}}
    play = {"action": "play", "kind": "number", "take": "last"}
    return ExampleSchema.model_validate(
        {"features": features, "labels": {"click": {"action": "click"}, "play": play}}
    )


@pytest.fixture(scope="session")
def make_example() -> Callable[..., bytes]:
    """`make_example(schema, user, context, item, click=…, …)`: a serialized example."""

    def make(
        schema: ExampleSchema,
        user: Mapping[str, Any],
        context: Mapping[str, Any],
        item: Mapping[str, Any],
        click: float = 0.0,
        **changes: Any,
    ) -> bytes:
        fields = {
            "request_id": "r",
            "item_id": str(item.get("item_id", "")),
            "ts_ms": 1_000,
            "joined_ts_ms": 5_000,
            "action_ts_ms": 2_000 if click else 0,
            "action_logged_ts_ms": 2_100 if click else 0,
            "sampling_rate": 1.0,
            "features": extract(schema, user, context, item),
            "labels": {"click": click},
            "masks": {"click": 1.0},
            "scores": {},
        }
        return encode_example(Example(**{**fields, **changes}))

    return make


class LocalShards:
    """What `ps.client.Shards` does, with the shards themselves in place of connections."""

    def __init__(self, shards: list[Shard]) -> None:
        self.shards = shards

    def pull(self, ids: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        rows = {name: np.empty((len(each), self._dim(name)), np.float32) for name, each in ids.items()}
        dense: dict[str, Any] = {}
        for index, shard in enumerate(self.shards):
            for name, each in ids.items():
                mine = shard_of(each, len(self.shards)) == index
                rows[name][mine] = shard.table(name).lookup(each[mine])
            dense |= shard.dense()
        return rows, dense

    def push(self, push: Push) -> None:
        push.check()
        for index, shard in enumerate(self.shards):
            tables = {name: self._part(index, *pair) for name, pair in push.tables.items()}
            dense = {n: g for n, g in push.dense.items() if shard_of_name(n, len(self.shards)) == index}
            shard.push(Push(push.spans, tables, dense, push.event_ts_ms, push.samples))

    def initialize_dense(self, tensors: Mapping[str, Any]) -> None:
        for index, shard in enumerate(self.shards):
            mine = {n: t for n, t in tensors.items() if shard_of_name(n, len(self.shards)) == index}
            shard.initialize_dense(mine)

    def marks(self) -> list[dict[int, int]]:
        return [shard.marks() for shard in self.shards]

    def _dim(self, name: str) -> int:
        return self.shards[0].table(name).dim

    def _part(self, index: int, ids: Any, gradients: Any) -> tuple[Any, Any]:
        mine = shard_of(ids, len(self.shards)) == index
        return ids[mine], gradients[mine]


@pytest.fixture
def make_shards() -> Callable[..., LocalShards]:
    def make(schema: ExampleSchema, count: int = 2) -> LocalShards:
        tables = table_settings(schema, {}, TableSettings(dim=4))
        dense = OptimizerSettings(kind="adam", learning_rate=0.01)
        return LocalShards([Shard(index, count, tables, dense, seed=1) for index in range(count)])

    return make


class Broker:
    """A Kafka broker inside librdkafka: real sockets, no Java."""

    def __init__(self) -> None:
        self._producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(self._producer.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def make_topic(self, topic: str) -> str:
        """Topics come into being when they are asked for."""
        self._producer.list_topics(topic, timeout=10)
        return topic

    def send(self, topic: str, values: list[bytes], partition: int = 0) -> None:
        for value in values:
            self._producer.produce(topic, value, partition=partition)
        assert self._producer.flush(10) == 0


@pytest.fixture(scope="session")
def broker() -> Broker:
    return Broker()
