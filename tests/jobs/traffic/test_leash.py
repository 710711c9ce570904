import asyncio
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from confluent_kafka import Consumer, TopicPartition

from jobs.spec import Job
from jobs.traffic import leash as module
from jobs.traffic.leash import LIMIT_PER_S, Leash
from tests.jobs.topics import Topics


@pytest.fixture
def leash(make_job: Callable[..., Job]) -> Iterator[Leash]:
    made = Leash(make_job({"kind": "replay"}))
    yield made
    made.close()


@pytest.fixture
def commit(bootstrap: str, topics: Topics) -> Callable[[int, int], None]:
    """Commit as the joiner of the job would."""

    def commit_offset(partition: int, offset: int) -> None:
        settings = {"bootstrap.servers": bootstrap, "group.id": "test-joiner", "log_level": 0}
        consumer = Consumer(settings)
        place = TopicPartition(topics.names["features"], partition, offset)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    return commit_offset


def is_short(leash: Leash, written: dict[int, int]) -> bool:
    async def run() -> bool:
        async with aiohttp.ClientSession() as session:
            return await leash.is_short(written, session)

    return asyncio.run(run())


def test_a_few_requests_may_be_under_way(leash: Leash) -> None:
    assert not is_short(leash, {0: LIMIT_PER_S // 2, 1: LIMIT_PER_S // 2})


def test_too_many_wait_until_the_joiner_has_read_them(
    leash: Leash, commit: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.0)
    written = {0: LIMIT_PER_S, 1: 100}
    assert is_short(leash, written)
    commit(0, 500)
    assert not is_short(leash, written)
    assert leash.under_way(written) == LIMIT_PER_S - 500 + 100


def test_what_the_trainers_have_not_read_counts(make_job: Callable[..., Job]) -> None:
    async def run() -> tuple[bool, int]:
        async def metrics(_: web.Request) -> web.Response:
            lines = (
                "# TYPE freshet_trainer_backlog_messages gauge",
                "freshet_trainer_backlog_messages 5000.0",
            )
            return web.Response(text="\n".join(lines))

        app = web.Application()
        app.add_routes([web.get("/metrics", metrics)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        addresses = [f"{host}:{port}", "127.0.0.1:1"]
        leash = Leash(make_job({"kind": "replay"}, trainer={"workers": 2, "metrics_addresses": addresses}))
        async with aiohttp.ClientSession() as session:
            short = await leash.is_short({0: 10}, session)
        await runner.cleanup()
        leash.close()
        return short, leash.under_way({0: 10})

    assert asyncio.run(run()) == (True, 5010)


def test_a_joiner_that_never_moves_holds_nobody_back_for_ever(
    leash: Leash, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = {0: 10 * LIMIT_PER_S}
    assert is_short(leash, written)
    monkeypatch.setattr(module, "STUCK_S", 0.0)
    assert not is_short(leash, written)


def test_long_checkpoint_intervals_allow_more(make_job: Callable[..., Job]) -> None:
    leash = Leash(make_job({"kind": "replay"}, joiner={"checkpoint_interval_ms": 5000}))
    assert not is_short(leash, {0: 5 * LIMIT_PER_S})
    leash.close()
