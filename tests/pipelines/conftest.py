"""A job with two labels of one action and one of another, and the events to feed it."""

from typing import Any

import orjson
import pytest

from pipelines.settings import JoinJob

JOB = {
    "name": "test",
    "seed": 7,
    "kafka": {"bootstrap": "127.0.0.1:9"},
    "schema": {
        "features": {
            "user_id": {"from": "user.user_id"},
            "country": {"from": "user.country", "type": "string"},
            "tags": {"from": "user.tags", "type": "string", "many": True},
            "hour": {"from": "context.hour"},
            "price": {"from": "item.price", "type": "float"},
            "parents": {"from": "item.parents", "many": True},
        },
        "labels": {
            "click": {"action": "click", "window_s": 10},
            "click_soon": {"action": "click", "window_s": 3},
            "buy": {"action": "buy", "window_s": 20},
        },
    },
    "joiner": {"negatives": {"rate": 0.5}, "max_event_bytes": 4096},
}


@pytest.fixture(scope="session")
def make_job():
    """`make_job(rate, labels, **joiner)`: the job of these tests with another rate, labels, joiner block."""

    def make(rate: float = 0.5, labels: dict[str, Any] | None = None, **joiner: Any) -> JoinJob:
        schema = {**JOB["schema"], "labels": labels or JOB["schema"]["labels"]}
        joiner = {**JOB["joiner"], "negatives": {"rate": rate}, **joiner}
        return JoinJob.model_validate({**JOB, "schema": schema, "joiner": joiner})

    return make


@pytest.fixture(scope="session")
def job(make_job) -> JoinJob:
    return make_job()


@pytest.fixture(scope="session")
def features_event():
    """`features_event(request_id, ts_ms, items, …)`: the bytes of an event of `features`."""

    def make(request_id: str = "r", ts_ms: int = 0, items: Any = (1,), **more: Any) -> bytes:
        raw = [item if isinstance(item, dict) else {"item_id": item} for item in items]
        event = {"request_id": request_id, "ts": ts_ms, "user": {}, "context": {}, "items": raw}
        return orjson.dumps(event | more)

    return make


@pytest.fixture(scope="session")
def action_event():
    """`action_event(request_id, item_id, action, ts_ms, …)`: the bytes of an event of `actions`."""

    def make(
        request_id: str = "r", item_id: Any = 1, action: Any = "click", ts_ms: int = 0, **more: Any
    ) -> bytes:
        event = {"request_id": request_id, "item_id": item_id, "action": action, "ts": ts_ms}
        return orjson.dumps(event | more)

    return make
