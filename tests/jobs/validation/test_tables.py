"""What is wrong with tables and the model: optimizers, limits, layers."""

from typing import Any

import pytest

from tests.jobs.findings import TABLES, assert_is_the_only_mistake


@pytest.mark.parametrize(
    ("changes", "path", "says", "suggestion"),
    [
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
    ],
)
def test_every_mistake_of_a_table_or_the_model_is_found_and_is_the_only_one(
    changes: dict[str, Any], path: str, says: str, suggestion: str | None
) -> None:
    assert_is_the_only_mistake(changes, path, says, suggestion)
