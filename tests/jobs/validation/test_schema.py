"""What is wrong with features, crosses and labels."""

from typing import Any

import pytest

from tests.jobs.findings import CROSSES, FEATURES, assert_is_the_only_mistake


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
    ],
)
def test_every_mistake_of_the_schema_is_found_and_is_the_only_one(
    changes: dict[str, Any], path: str, says: str, suggestion: str | None
) -> None:
    assert_is_the_only_mistake(changes, path, says, suggestion)
