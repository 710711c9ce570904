"""HTTP, over a socket: what a replica says to good, bad and hostile requests."""

import asyncio

import aiohttp
import orjson
import pytest

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def replica(launch, broker, tmp_path_factory):
    return launch(broker.make_topic("updates-app"), tmp_path_factory.mktemp("app"))


def counted(metrics: str, name: str) -> float:
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith(f"{name} "))


def test_bad_bodies_are_answered_with_what_where_and_what_would_be_right(replica):
    for body, status, where in (
        (b"{", 400, "body"),
        (b'{"user": {}}', 422, "items"),
        (b'{"items": [{"item_id": 1}, {"item_id": "x"}]}', 422, "items[1].item_id"),
        (b'{"items": [], "user": {"user_id": 1.5}}', 422, "user.user_id"),
    ):
        found, answer = replica.ask("POST", "/v1/predict", data=body)
        assert (found, answer["where"], set(answer)) == (status, where, {"error", "where", "expected"})
    assert "freshet_replica_refused_requests_total 4.0" in replica.get("/metrics")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused_and_the_server_goes_on(replica, fake, chunked):
    async def pieces():
        for _ in range(fake.MAX_BODY_BYTES // 8 + 1):
            yield b" " * 8

    data = pieces() if chunked else b" " * (fake.MAX_BODY_BYTES + 1)
    status, answer = replica.ask("POST", "/v1/predict", data=data)
    assert status == 413
    assert answer["expected"] == f"at most {fake.MAX_BODY_BYTES} bytes"
    assert replica.predict(1, 2)["items"][0]["item_id"] == 2


def test_what_breaks_the_model_is_no_traceback_for_the_client(replica):
    # The fake model needs a user.
    status, answer = replica.ask("POST", "/v1/predict", data=b'{"items": [{"item_id": 1}]}')
    assert status == 500
    assert answer["error"] == "internal error, see the replica's log"
    assert "KeyError" in replica.log.read_text()
    assert "freshet_replica_failed_requests_total 1.0" in replica.get("/metrics")


def test_a_request_without_items_has_an_answer_without_items(replica):
    assert replica.predict(1)["items"] == []


def test_unknown_places_are_told_what_there_is(replica):
    for method, path, status in (("GET", "/v1/predict", 405), ("GET", "/nothing", 404)):
        found, answer = replica.ask(method, path)
        assert found == status
        assert answer["where"] == path
        assert "POST /v1/predict" in answer["expected"]


def test_the_api_is_described_without_pages_that_need_the_internet(replica):
    described = replica.get("/openapi.json")
    assert set(described["paths"]) == {
        "/v1/predict",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/freeze",
    }
    assert replica.ask("GET", "/docs")[0] == 404


def test_many_clients_at_once_all_get_their_own_items(replica):
    async def ask(session: aiohttp.ClientSession, i: int) -> None:
        body = {"request_id": f"r{i}", "user": {"user_id": i}, "items": [{"item_id": i}, {"item_id": -i}]}
        async with session.post(f"{replica.url}/v1/predict", data=orjson.dumps(body)) as response:
            answer = await response.json()
        assert answer["request_id"] == f"r{i}"
        assert [item["item_id"] for item in answer["items"]] == [i, -i]

    async def ask_all() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(ask(session, i) for i in range(200)))

    asyncio.run(ask_all())
    metrics = replica.get("/metrics")
    batches = counted(metrics, "freshet_replica_batch_requests_count")
    requests = counted(metrics, "freshet_replica_predictions_total")
    assert batches < requests


def test_health_needs_no_parameters(replica):
    assert replica.ask("GET", "/healthz") == (200, {"healthy": True})
