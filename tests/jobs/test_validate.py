import copy
from typing import Any

import pytest

from jobs.document import dotted
from jobs.shape import json_schema
from jobs.spec import Job
from jobs.traffic.replay import FEEDBACK
from jobs.traffic.simulated import SimulatedVisits
from jobs.validate import ACTIONS, SIMULATED_KEYS, check

GOOD: dict[str, Any] = {
    "name": "films",
    "schema": {
        "features": {
            "user_id": {"from": "user.user_id"},
            "age": {"from": "user.age", "type": "float"},
            "hour": {"from": "context.hour"},
            "item_id": {"from": "item.item_id"},
        },
        "labels": {"click": {"action": "click"}},
    },
}


def job_with(changes: dict[str, Any]) -> Job:
    document = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *blocks, last = path.split("/")
        block = document
        for key in blocks:
            block = block.setdefault(key, {})
        block[last] = value
    return Job.model_validate(document)


def found(changes: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(dotted(each.path), each.message, each.suggestion) for each in check(job_with(changes))]


FILES = {"kind": "files", "features": "s3://b/features", "actions": "logs/actions.jsonl"}
FEATURES, CROSSES, TABLES = "schema/features", "schema/crosses", "schema/tables"


@pytest.mark.parametrize(
    ("changes", "path", "says", "suggestion"),
    [
        ({"schema/features": {}}, "schema.features", "at least one of the features", None),
        ({"schema/labels": {}}, "schema.labels", "at least one of the labels", None),
        ({f"{FEATURES}/ts": {"from": "user.x"}}, "schema.features.ts", "is reserved, as", None),
        ({f"{FEATURES}/label:x": {"from": "user.x"}}, "schema.features.label:x", "Freshet's own", None),
        (
            {"schema/labels/paid": {"action": "buy", "kind": "number", "otherwise": -1e10}},
            "schema.labels.paid.otherwise",
            "must be within ±1e+09: the trainer learns nothing",
            None,
        ),
        ({f"{FEATURES}/": {"from": "user.x"}}, "schema.features.", "an empty name", None),
        (
            {f"{FEATURES}/item_id": {"from": "item.x"}},
            "schema.features.item_id",
            "reserved for the item's id",
            None,
        ),
        ({"schema/labels/a@b": {"action": "x"}}, "schema.labels.a@b", "is no name for a label", None),
        ({"schema/labels/x": {"action": ""}}, "schema.labels.x.action", "must not be empty", None),
        (
            {f"{FEATURES}/hour": {"from": "context.hour", "boundaries": [1, 2]}},
            "schema.features.hour.boundaries",
            "are for features of type float; this one is int",
            None,
        ),
        (
            {f"{FEATURES}/age": {"from": "user.age", "type": "float", "boundaries": [1, 3, 3]}},
            "schema.features.age.boundaries[2]",
            "must be above 3",
            None,
        ),
        (
            {f"{FEATURES}/age": {"from": "user.age", "type": "float", "table": "ages"}},
            "schema.features.age.table",
            "has no rows",
            None,
        ),
        (
            {f"{CROSSES}/x": {"of": ["user_id", "huor"]}},
            "schema.crosses.x.of[1]",
            "is not a feature; a cross is made of user_id, hour or item_id",
            "hour",
        ),
        (
            {f"{CROSSES}/x": {"of": ["age", "hour"]}},
            "schema.crosses.x.of[0]",
            "give `schema.features.age` boundaries",
            None,
        ),
        ({f"{CROSSES}/x": {"of": ["hour", "hour"]}}, "schema.crosses.x.of[1]", "twice", None),
        (
            {f"{CROSSES}/hour": {"of": ["user_id", "item_id"]}},
            "schema.crosses.hour",
            "is the name of a feature as well",
            None,
        ),
        (
            {f"{TABLES}/usr_id": {"dim": 4}},
            "schema.tables.usr_id",
            "no feature uses; they use hour, item_id or user_id",
            "user_id",
        ),
        ({f"{TABLES}/age": {"dim": 4}}, "schema.tables.age", "no feature uses", None),
        (
            {f"{TABLES}/hour": {"optimizer": {"kind": "sgd", "beta_1": 0.5}}},
            "schema.tables.hour.optimizer.beta_1",
            "is of adam or adamw; kind sgd has no such constant",
            None,
        ),
        (
            {"schema/default_table": {"optimizer": {"kind": "ftrl", "l21": 0.1}}},
            "schema.default_table.optimizer.l21",
            "is of group_ftrl; kind ftrl has no such constant",
            None,
        ),
        (
            {"schema/default_table": {"optimizer": {"schedule": {"kind": "cosine", "decay_rate": 0.5}}}},
            "schema.default_table.optimizer.schedule.decay_rate",
            "is of exponential or inverse_time; kind cosine has no such constant",
            None,
        ),
        (
            {"schema/default_table": {"optimizer": {"kind": "ftrl", "schedule": {"warmup_steps": 5}}}},
            "schema.default_table.optimizer.schedule",
            "is not for kind ftrl, whose weights are proportional to the learning rate",
            None,
        ),
        (
            {"schema/default_table": {"optimizer": {"schedule": {"warmup_start": 0.5}}}},
            "schema.default_table.optimizer.schedule.warmup_start",
            "is not used: warmup_steps is 0",
            None,
        ),
        (
            {"schema/default_table": {"optimizer": {"schedule": {"kind": "exponential", "decay_rate": 2}}}},
            "schema.default_table.optimizer.schedule.decay_rate",
            "must be at most 1: the learning rate would grow without end",
            None,
        ),
        (
            {"model/optimizer": {"kind": "adam", "bad_gradients": "clip"}},
            "model.optimizer.bad_gradients",
            "needs clipvalue or clipnorm",
            None,
        ),
        (
            {"model/optimizer": {"kind": "rowwise_adagrad"}},
            "model.optimizer.kind",
            "is for the rows of tables; dense tensors take sgd, momentum, adagrad, adam, adamw, ",
            None,
        ),
        (
            {"schema/default_table": {"initializer": {"scale": -1}}},
            "schema.default_table.initializer.scale",
            "must be at least 0 for kind uniform",
            None,
        ),
        (
            {"schema/default_table": {"admission": {"window_s": 60}}},
            "schema.default_table.admission.window_s",
            "nothing is counted unless `min_count` is at least 2",
            None,
        ),
        (
            {f"{TABLES}/hour": {"admission": {"min_count": 3, "probability": 0.5}}},
            "schema.tables.hour.admission.probability",
            "is one way of admission, min_count the other",
            None,
        ),
        (
            {"schema/default_table": {"when_full": "refuse"}},
            "schema.default_table.when_full",
            "without `max_rows` or `max_bytes` a table is never full",
            None,
        ),
        (
            {f"{TABLES}/hour": {"disk": {"memory_bytes": 1 << 26}}, "ps/shards": 3},
            "schema.tables.hour.disk.memory_bytes",
            "must be at least 201326592: 67108864 for each of 3 shards",
            None,
        ),
        (
            {f"{TABLES}/hour": {"disk": {"memory_bytes": 1 << 27}, "max_rows": 10_000_000}, "ps/shards": 2},
            "schema.tables.hour.disk.memory_bytes",
            "leaves no memory for rows: of 67108864 bytes for each of 2 shards `max_rows` and `admission` "
            "need 45000000 (9 a row, 3.9 a tracked id)",
            None,
        ),
        (
            {f"{TABLES}/hour": {"disk": {"memory_bytes": 1 << 27}, "max_bytes": 9}},
            "schema.tables.hour.max_bytes",
            "is not used: of a table with a tier on disk `disk.memory_bytes` limits the memory",
            None,
        ),
        ({"model/hidden": [8, 0]}, "model.hidden[1]", "must be at least 1", None),
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
        ({"joiner/parallelism": 2}, "joiner.parallelism", "joiner.task_managers, which is 1", None),
        (
            {"joiner": {"flink_address": "flink:8081", "archive": {}}},
            "joiner.archive.path",
            "a place that all of its machines reach",
            None,
        ),
        ({"joiner/archive": {"path": "s3:/b"}}, "joiner.archive.path", "such as s3://bucket/folder", None),
        (
            {"joiner/pool": {"negatives": 65}},
            "joiner.pool.negatives",
            "must be at most 64 with events of",
            None,
        ),
        ({"joiner/archive": {"path": ""}}, "joiner.archive.path", "must be a folder", None),
        ({"trainer/archive": "hdfs:/b"}, "trainer.archive", "such as s3://bucket/folder", None),
        ({"trainer/archive": "s3a://b/x"}, "trainer.archive", "only Flink has a name", "s3://b/x"),
        ({"joiner/input": {"kind": "kafka"}}, "kafka.bootstrap", "a new broker without events", None),
        (
            {"joiner/input": {"kind": "files", "features": "f"}},
            "joiner.input.kind",
            "needs actions: a file",
            None,
        ),
        (
            {"joiner/input": {"kind": "files", "features": "s3:/b", "actions": "a"}},
            "joiner.input.features",
            "or a URL such as s3://bucket/features",
            None,
        ),
        (
            {"joiner/input": {"kind": "files", "features": "logs", "actions": "logs"}},
            "joiner.input.actions",
            "is what features names already",
            None,
        ),
        (
            {"joiner": {"input": FILES, "engine": "python"}},
            "joiner.input",
            "engine jvm only: set joiner.engine to jvm",
            None,
        ),
        (
            {"joiner/input": FILES, "traffic/kind": "simulated"},
            "traffic.kind",
            "must be none with joiner.input",
            None,
        ),
        (
            {"joiner/input": {"kind": "kafka", "ends": {"features": [1]}}, "kafka/bootstrap": "b:9092"},
            "joiner.input.ends",
            "needs both, features and actions",
            None,
        ),
        (
            {"joiner/flink_options": {"execution.checkpointing.dir": "s3://shared/checkpoints"}},
            "joiner.flink_options.execution.checkpointing.dir",
            "is for joiner.state_url to say",
            None,
        ),
        (
            {"joiner/input": {"kind": "kafka", "features": "f"}, "kafka/bootstrap": "b:9092"},
            "joiner.input.features",
            "it is the topic, kafka.topics.features",
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
        ({f"{FEATURES}/was:x": {"from": "user.x"}}, "schema.features.was:x", "Freshet's own", None),
        (
            {"schema/labels/x": {"action": "x", "when": "item.length * 2 > value"}},
            "schema.labels.x.when",
            "must be a CEL expression whose result is a boolean: column 13: found no matching overload for "
            "'_*_' applied to '(dyn, int)'; numbers are doubles: write 2.0, not 2",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "when": "vlaue > 2"}},
            "schema.labels.x.when",
            "column 1: undeclared reference to 'vlaue'",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "kind": "number", "value": "value > 2"}},
            "schema.labels.x.value",
            "must be a CEL expression whose result is a number: its result is a bool, not a number",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "kind": "number", "take": "last", "late_s": 60}},
            "schema.labels.x.late_s",
            "is for `take: first`: last is known when the window ends, and leaves then",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "value": "2.0 * value"}},
            "schema.labels.x.value",
            "is for labels of `kind: number`; this one is binary, 1 or 0",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "otherwise": None}},
            "schema.labels.x.otherwise",
            "is for labels of `kind: number`",
            None,
        ),
        (
            {"schema/labels/x": {"action": "x", "take": "max"}},
            "schema.labels.x.take",
            "is for labels of `kind: number`",
            None,
        ),
        (
            {"joiner": {"engine": "python", "pool": {}}},
            "joiner.pool",
            "is kept by engine jvm only: set joiner.engine to jvm, or leave the pool out",
            None,
        ),
        (
            {"joiner": {"engine": "jvm", "pool": {"label": "clik"}}},
            "joiner.pool.label",
            "is not a label; there is click",
            "click",
        ),
        (
            {"traffic/kind": "simulated", "joiner/negatives/by": {"item.categry": {"3": 0.5}}},
            "joiner.negatives.by.item.categry",
            "is in no request: simulated traffic has item.item_id, item.category, item.price",
            "item.category",
        ),
        (
            {"traffic": {"kind": "simulated", "items": 5, "candidates": 6}},
            "traffic.candidates",
            "must be at most traffic.items, which is 5",
            None,
        ),
    ],
)
def test_every_mistake_is_found_and_is_the_only_one(
    changes: dict[str, Any], path: str, says: str, suggestion: str | None
) -> None:
    ((where, message, meant),) = found(changes)
    assert where == path
    assert says in message
    assert meant == suggestion


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"traffic/kind": "simulated"},
        {"traffic/kind": "replay"},
        {f"{CROSSES}/x": {"of": ["hour", "item_id"], "table": "shared"}, f"{TABLES}/shared": {"dim": 3}},
        {
            f"{FEATURES}/age": {"from": "user.age", "type": "float", "boundaries": [18, 30]},
            f"{TABLES}/age": {},
        },
        {"kafka/bootstrap": "[::1]:9092,kafka.example:9092", "ps/addresses": ["10.0.0.1:1", "10.0.0.2:1"]},
        {"joiner": {"parallelism": 4, "flink_address": "flink:8081"}},
        {f"{TABLES}/hour": {"optimizer": {"kind": "adam", "beta_1": 0.5}}},
        {f"{TABLES}/hour": {"admission": {"min_count": 3, "window_s": 60}, "expiry": {}}},
        {f"{TABLES}/hour": {"admission": {"probability": 0.5}, "max_bytes": 10**9, "when_full": "refuse"}},
        {f"{TABLES}/hour": {"initializer": {"kind": "constant", "scale": -1}}},
        {"joiner/input": FILES},
        {"joiner/input": {"kind": "kafka"}, "kafka/bootstrap": "b:9092"},
        {"joiner/archive": {}},
        {"joiner/archive": {"path": "data/archive"}, "trainer/archive": "data/archive"},
        {"joiner": {"flink_address": "flink:8081", "archive": {"path": "s3://bucket/a"}}},
        {"kafka/client": {"security.protocol": "SSL"}},
        {f"{TABLES}/hour": {"disk": {"memory_bytes": 1 << 27}}, "ps/shards": 2},
        {"schema/labels/x": {"action": "x", "when": "value >= 0.7 * item.length", "late_s": 60}},
        {"schema/labels/x": {"action": "x", "kind": "number", "value": "value / 60.0", "take": "max"}},
        {"schema/labels/x": {"action": "x", "kind": "number", "otherwise": None, "late_s": 60}},
        {"joiner": {"engine": "jvm", "pool": {"label": "click"}}},
        {"traffic/kind": "simulated", "joiner/negatives/by": {"item.category": {"3": 0.5}}},
        {"joiner/negatives/by": {"user.anything": {"3": 0.5}}},
        {
            f"{TABLES}/hour": {
                "disk": {"memory_bytes": 1 << 27},
                "admission": {"min_count": 3},
                "expiry": {"after_s": 60},
                "max_rows": 9,
            }
        },
    ],
)
def test_what_is_right_is_left_alone(changes: dict[str, Any]) -> None:
    assert found(changes) == []


def test_the_keys_of_simulated_traffic_are_those_it_sends() -> None:
    visit = next(iter(SimulatedVisits(job_with({"traffic/kind": "simulated"}), 1_764_000_000_000)))
    sent = {
        "user": tuple(visit.user),
        "context": tuple(visit.context),
        "item": tuple(visit.items[0].keys() - {"scores"}),
    }
    assert {origin: sorted(keys) for origin, keys in sent.items()} == {
        origin: sorted(keys) for origin, keys in SIMULATED_KEYS.items()
    }


def test_the_actions_of_a_replay_are_those_it_makes() -> None:
    assert set(ACTIONS["replay"]) == {*FEEDBACK.values(), "rating", "like"}


def test_the_json_schema_knows_every_key_and_refuses_others() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {field.alias or name for name, field in Job.model_fields.items()}
