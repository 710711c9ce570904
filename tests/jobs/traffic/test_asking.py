import asyncio
import time
from collections.abc import Callable
from typing import Any

from jobs.traffic.asking import Asker
from jobs.traffic.visits import Visit

VISIT = Visit("r", 1, {"user_id": 7}, {"tab": 1}, [{"item_id": 1}, {"item_id": 3, "scores": {"a@best": 1}}])


def ask(addresses: list[str], what: Callable[[Asker], Any], patience_s: float = 0.2) -> Any:
    async def run() -> Any:
        async with Asker(addresses, patience_s=patience_s) as asker:
            return await what(asker)

    return asyncio.run(run())


def test_scores_come_by_item(replica: Any) -> None:
    scores = ask([replica.address], lambda asker: asker.ask(VISIT))
    assert scores == {1: {"is_click": 0.5}, 3: {"is_click": 0.25}}
    assert replica.questions == [
        {
            "request_id": "r",
            "user": {"user_id": 7},
            "context": {"tab": 1},
            "items": [{"item_id": 1}, {"item_id": 3}],
        }
    ]


def test_a_visit_goes_unscored_when_serving_is_away() -> None:
    async def twice(asker: Asker) -> tuple[Any, int, float]:
        first = await asker.ask(VISIT)
        began_s = time.monotonic()
        assert await asker.ask(VISIT) == {}
        return first, asker.unscored, time.monotonic() - began_s

    scores, unscored, second_s = ask(["127.0.0.1:1"], twice)
    assert (scores, unscored) == ({}, 2)
    # The second one did not wait again.
    assert second_s < 0.2


def test_an_answer_after_a_pause_is_waited_for(replica: Any) -> None:
    async def ask_while_it_comes_back(asker: Asker) -> Any:
        replica.status = 503
        asking = asyncio.create_task(asker.ask(VISIT))
        await asyncio.sleep(0)
        replica.status = 200
        return await asking, asker.unscored

    scores, unscored = ask([replica.address], ask_while_it_comes_back, patience_s=10)
    assert (scores[1], unscored) == ({"is_click": 0.5}, 0)


def test_another_replica_answers_for_one_that_is_away(replica: Any) -> None:
    async def several(asker: Asker) -> int:
        await asyncio.gather(*(asker.ask(VISIT) for _ in range(6)))
        return asker.unscored

    assert ask(["127.0.0.1:1", replica.address], several, patience_s=5) == 0


def test_a_refusal_is_not_repeated(replica: Any) -> None:
    replica.status = 422

    async def refused(asker: Asker) -> tuple[int, str | None]:
        await asker.ask(VISIT)
        return asker.unscored, asker.last_error

    unscored, error = ask([replica.address], refused, patience_s=60)
    assert unscored == 1
    assert error is not None
    assert "answered 422: not today" in error


def test_all_replicas_freeze(replica: Any) -> None:
    assert ask([replica.address], lambda asker: asker.freeze())
    assert replica.frozen_after == 0
    assert not ask([replica.address, "127.0.0.1:1"], lambda asker: asker.freeze())


def test_readiness_is_waited_for(replica: Any) -> None:
    assert ask([replica.address], lambda asker: asker.wait_until_ready(5))
    assert not ask(["127.0.0.1:1"], lambda asker: asker.wait_until_ready(0.3))


def test_stopping_ends_all_patience() -> None:
    async def stop_while_it_waits() -> tuple[Any, bool]:
        stopping = asyncio.Event()
        async with Asker(["127.0.0.1:1"], patience_s=600, stopping=stopping) as asker:
            asking = asyncio.create_task(asker.ask(VISIT))
            waiting = asyncio.create_task(asker.wait_until_ready(600))
            await asyncio.sleep(0)
            stopping.set()
            return await asking, await waiting

    assert asyncio.run(asyncio.wait_for(stop_while_it_waits(), 10)) == ({}, False)
