"""What is wrong with topics, addresses and traffic, and with what the trainer reads."""

from typing import Any

import pytest

from tests.jobs.findings import FEATURES, FILES, assert_is_the_only_mistake


@pytest.mark.parametrize(
    ("changes", "path", "says", "suggestion"),
    [
        ({"kafka/bootstrap": "embeded"}, "kafka.bootstrap", "must be host:port", "embedded"),
        ({"kafka/bootstrap": "a:1,b"}, "kafka.bootstrap", "must be host:port", None),
        ({"kafka/topics": {"actions": "a b"}}, "kafka.topics.actions", "no name of a Kafka topic", None),
        (
            {"kafka/topics": {"actions": "features"}},
            "kafka.topics.actions",
            "kafka.topics.features already",
            None,
        ),
        (
            {"kafka/client": {"bootstrap.servers": "a:1"}},
            "kafka.client.bootstrap.servers",
            "set kafka.bootstrap",
            None,
        ),
        ({"ps": {"shards": 1, "addresses": ["a"]}}, "ps.addresses[0]", "must be host:port", None),
        ({"ps": {"shards": 1, "addresses": ["a:0"]}}, "ps.addresses[0]", "from 1 to 65535", None),
        ({"ps": {"shards": 1, "addresses": ["a:65536"]}}, "ps.addresses[0]", "from 1 to 65535", None),
        ({"dashboard/address": "http://a:1"}, "dashboard.address", "must be host:port", None),
        (
            {"ps": {"shards": 3, "addresses": ["a:1", "a:2"]}},
            "ps.addresses",
            "has 2, but ps.shards is 3",
            None,
        ),
        ({"ps/metrics_addresses": ["a:1"]}, "ps.metrics_addresses", "has 1, but ps.shards is 2", None),
        ({"serving/addresses": ["a:1", "a:2"]}, "serving.addresses", "but serving.replicas is 1", None),
        (
            {"trainer/metrics_addresses": ["a:1", "a:2"]},
            "trainer.metrics_addresses",
            "but trainer.workers is 1",
            None,
        ),
        (
            {"serving/addresses": ["a:1"], "dashboard/address": "a:1"},
            "dashboard.address",
            "is the address of serving.addresses[0] already",
            None,
        ),
        ({"trainer/archive": "hdfs:/b"}, "trainer.archive", "such as s3://bucket/folder", None),
        ({"trainer/archive": "s3a://b/x"}, "trainer.archive", "only Flink has a name", "s3://b/x"),
        (
            {"joiner/input": FILES, "traffic/kind": "simulated"},
            "traffic.kind",
            "must be none with joiner.input",
            None,
        ),
        ({"sync/dense_cron": "daily"}, "sync.dense_cron", "must be a cron expression", None),
        ({"traffic": {"kind": "none", "path": "x"}}, "traffic.path", "traffic.kind is none", None),
        (
            {"traffic/kind": "simulated", "schema/labels": {"x": {"action": "clck"}}},
            "schema.labels.x.action",
            "never happens: simulated traffic has the actions click, like",
            "click",
        ),
        (
            {"traffic": {"kind": "replay", "path": "x"}, "schema/labels": {"x": {"action": "longview"}}},
            "schema.labels.x.action",
            "never happens",
            "long_view",
        ),
        (
            {"traffic/kind": "simulated", f"{FEATURES}/x": {"from": "item.categry"}},
            "schema.features.x.from",
            "is in no request: simulated traffic has item.item_id, item.category, item.price",
            "item.category",
        ),
        (
            {"traffic/kind": "simulated", f"{FEATURES}/x": {"from": "user.device"}},
            "schema.features.x.from",
            "is in no request",
            "context.device",
        ),
        (
            {"traffic": {"kind": "simulated", "items": 5, "candidates": 6}},
            "traffic.candidates",
            "must be at most traffic.items, which is 5",
            None,
        ),
    ],
)
def test_every_mistake_of_topics_addresses_and_traffic_is_found_and_is_the_only_one(
    changes: dict[str, Any], path: str, says: str, suggestion: str | None
) -> None:
    assert_is_the_only_mistake(changes, path, says, suggestion)
