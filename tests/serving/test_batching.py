import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from serving.batching import MAX_WAITING_REQUESTS, Batcher
from serving.requests import RefusedError


class Model:
    """Answers with the request's name, when it is let."""

    def __init__(self) -> None:
        self.batches = []
        self.has_begun = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    async def begun(self) -> None:
        """Return when it has a batch in hand."""
        assert await asyncio.to_thread(self.has_begun.wait, 10)

    def answer(self, requests):
        self.has_begun.set()
        assert self.may_answer.wait(10)
        self.batches.append([r["name"] for r in requests])
        if any(r["name"] == "bad" for r in requests):
            raise ValueError("bad")
        return [str(r["name"]).encode() for r in requests]


def request(name: object, items: int = 1) -> dict[str, object]:
    return {"name": name, "items": [{}] * items}


async def asked(batcher: Batcher, *names: object) -> list[asyncio.Task[bytes]]:
    """What asks with these names, and has: `ask` runs to where it waits for its answer."""

    async def ask(name: object, has_asked: asyncio.Event) -> bytes:
        has_asked.set()
        return await batcher.ask(request(name), 0)

    events = [asyncio.Event() for _ in names]
    tasks = [asyncio.create_task(ask(*each)) for each in zip(names, events, strict=True)]
    for event in events:
        await event.wait()
    return tasks


def run(scenario: Callable[[Batcher, Model], Awaitable[None]], max_items: int = 100) -> Model:
    model = Model()

    async def main() -> None:
        batcher = Batcher(model.answer, max_items, 100)
        await scenario(batcher, model)
        batcher.close()

    asyncio.run(main())
    return model


def test_requests_that_come_together_are_scored_together_and_get_their_own_answers():
    async def scenario(batcher, model):
        answers = await asyncio.gather(*(batcher.ask(request(i), 0) for i in range(5)))
        assert answers == [b"0", b"1", b"2", b"3", b"4"]

    assert run(scenario).batches == [[0, 1, 2, 3, 4]]


def test_what_comes_while_a_batch_is_scored_is_the_next_batch():
    async def scenario(batcher, model):
        model.may_answer.clear()
        first = await asked(batcher, 0)
        await model.begun()
        rest = await asked(batcher, 1, 2)
        model.may_answer.set()
        assert await asyncio.gather(*first, *rest) == [b"0", b"1", b"2"]

    assert run(scenario).batches == [[0], [1, 2]]


def test_a_batch_has_a_bounded_number_of_items():
    async def scenario(batcher, model):
        await asyncio.gather(
            *(batcher.ask(request(i, items), 0) for i, items in enumerate((4, 4, 4, 10, 12)))
        )

    assert run(scenario, max_items=10).batches == [[0, 1], [2], [3], [4]]


def test_a_batch_has_a_bounded_number_of_values_in_lists():
    async def scenario(batcher, model):
        sizes = (40, 40, 40, 100, 120)
        await asyncio.gather(*(batcher.ask(request(i), values) for i, values in enumerate(sizes)))

    assert run(scenario).batches == [[0, 1], [2], [3], [4]]


def test_one_bad_request_does_not_spoil_the_others():
    async def scenario(batcher, model):
        asked = (batcher.ask(request(name), 0) for name in (0, "bad", 1))
        first, bad, last = await asyncio.gather(*asked, return_exceptions=True)
        assert (first, last) == (b"0", b"1")
        assert isinstance(bad, ValueError)

    run(scenario)


def test_a_client_that_has_gone_is_no_harm():
    async def scenario(batcher, model):
        model.may_answer.clear()
        (gone,) = await asked(batcher, 0)
        await model.begun()
        gone.cancel()
        (stays,) = await asked(batcher, 1)
        model.may_answer.set()
        assert await stays == b"1"

    run(scenario)


def test_too_many_that_wait_are_refused():
    async def scenario(batcher, model):
        model.may_answer.clear()
        first = await asked(batcher, 0)
        await model.begun()
        rest = await asked(batcher, *range(MAX_WAITING_REQUESTS))
        with pytest.raises(RefusedError, match="wait already"):
            await batcher.ask(request(-1), 0)
        model.may_answer.set()
        await asyncio.gather(*first, *rest)

    run(scenario)
