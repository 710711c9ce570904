from typing import Any

import pytest

from jobs.spec import Job
from jobs.traffic.replay import FEEDBACK
from jobs.traffic.simulated import SimulatedVisits
from jobs.validation.meaning import ACTIONS, SIMULATED_KEYS
from jobs.validation.shape import json_schema
from tests.jobs.findings import CROSSES, FEATURES, FILES, TABLES, found, job_with


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
