import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from confluent_kafka import Producer

from jobs.spec import Job
from jobs.traffic import leash as module
from jobs.traffic.leash import LIMIT, Leash


@pytest.fixture
def leash(make_job: Callable[..., Job]) -> Any:
    made = Leash(make_job({"kind": "replay"}))
    yield made
    made.close()


def wait(leash: Leash, timeout_s: float) -> bool:
    """Whether the leash let go in time."""

    async def run() -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                await asyncio.wait_for(leash.wait(session), timeout_s)
            except TimeoutError:
                return False
            return True

    return asyncio.run(run())


def test_a_few_impressions_may_be_under_way(leash: Leash) -> None:
    leash.sent("r-0", LIMIT)
    assert wait(leash, 5)


def test_too_many_wait_until_they_are_joined(leash: Leash, bootstrap: str, topics: dict[str, str]) -> None:
    leash.sent("r-0", LIMIT)
    leash.sent("r-1", LIMIT)
    assert leash.under_way == 2 * LIMIT
    assert not wait(leash, 0.3)
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    producer.produce(topics["examples"], b"", b"r-0")
    producer.flush()
    assert wait(leash, 10)
    assert leash.under_way == LIMIT


def test_windows_that_hold_more_than_the_limit_raise_it(
    leash: Leash, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STUCK_S", 0.05)
    leash.sent("r-0", 2 * LIMIT)
    assert wait(leash, 10)
