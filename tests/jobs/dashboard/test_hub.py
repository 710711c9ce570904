import asyncio
from pathlib import Path
from typing import Any, cast

from jobs.dashboard.hub import Hub
from jobs.observe import Observation, Observer
from jobs.spec import Job


def empty_look(tmp_path: Path) -> Observation:
    features = {"user_id": {"from": "user.user_id"}}
    schema = {"features": features, "labels": {"click": {"action": "click"}}}
    observer = Observer(Job.model_validate({"name": "x", "schema": schema}), tmp_path)
    try:
        return observer.observe()
    finally:
        observer.close()


def test_a_page_that_does_not_read_is_cut_off_and_others_go_on(tmp_path: Path) -> None:
    async def visits() -> tuple[int, int]:
        hub, seen = Hub(cast(Observer, None)), empty_look(tmp_path)
        slow, quick = hub.messages(), hub.messages()
        await anext(slow)
        await anext(quick)
        got = 0
        for _ in range(200):
            hub.show(seen)
            got += b"event: observation" in await anext(quick)
        left = [message async for message in slow]
        hub.close()
        assert [message async for message in quick] == []
        return got, len(left)

    got, left = asyncio.run(visits())
    assert got == 200
    assert left == 0


def test_a_look_that_fails_does_not_end_the_stream(tmp_path: Path, caplog: Any) -> None:
    class Broken:
        looks = 0

        def observe(self) -> Observation:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("a bug")
            return empty_look(tmp_path)

    async def first_message() -> bytes:
        hub = Hub(cast(Observer, Broken()))
        stream = hub.messages()
        await anext(stream)
        running = asyncio.create_task(hub.run())
        message = await asyncio.wait_for(anext(stream), 10)
        running.cancel()
        await stream.aclose()
        return message

    assert asyncio.run(first_message()).startswith(b"event: observation")
    assert "could not observe the job" in caplog.text
