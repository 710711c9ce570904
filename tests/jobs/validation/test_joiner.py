"""What is wrong with the block `joiner`: its input, its archive, its pool."""

from typing import Any

import pytest

from tests.jobs.findings import FILES, assert_is_the_only_mistake


@pytest.mark.parametrize(
    ("changes", "path", "says", "suggestion"),
    [
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
    ],
)
def test_every_mistake_of_the_joiner_is_found_and_is_the_only_one(
    changes: dict[str, Any], path: str, says: str, suggestion: str | None
) -> None:
    assert_is_the_only_mistake(changes, path, says, suggestion)
