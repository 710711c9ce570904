"""What is found in a job that is right but for some changes, by path: `{"ps/shards": 3}`."""

import copy
from typing import Any

from jobs.document import dotted
from jobs.spec import Job
from jobs.validation.meaning import check

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
FILES = {"kind": "files", "features": "s3://b/features", "actions": "logs/actions.jsonl"}
FEATURES, CROSSES, TABLES = "schema/features", "schema/crosses", "schema/tables"


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


def assert_is_the_only_mistake(changes: dict[str, Any], path: str, says: str, suggestion: str | None) -> None:
    ((where, message, meant),) = found(changes)
    assert where == path
    assert says in message
    assert meant == suggestion
