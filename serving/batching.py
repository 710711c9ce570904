"""Requests that come together are scored together: one call of the model for all that wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from serving.requests import RefusedError, Request

MAX_WAITING_REQUESTS: Final = 1024


class _Waiting(NamedTuple):
    request: Request
    values: int
    answer: "asyncio.Future[bytes]"


class Batcher:
    """Lives in one event loop; scoring runs in one thread beside it, while the next requests gather.

    Nobody waits for company: an idle thread takes at once whatever is there.
    """

    def __init__(
        self, answer: Callable[[Sequence[Request]], list[bytes]], max_items: int, max_values: int
    ) -> None:
        """`answer` gives one body for each of a batch of requests.

        They have `max_items` items and `max_values` values of lists at most, unless one alone has more.
        """
        self._answer = answer
        self._max_items = max_items
        self._max_values = max_values
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._busy = False

    async def ask(self, request: Request, values: int) -> bytes:
        """The answer to `request`, whose lists come to `values`; raises RefusedError when too many wait."""
        if len(self._waiting) >= MAX_WAITING_REQUESTS:
            raise RefusedError(
                503, f"{MAX_WAITING_REQUESTS} requests wait already", "server", "fewer requests at a time"
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, values, loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            # Not now: requests that this turn of the loop has read, too, shall be in the batch.
            loop.call_soon(self._start)
        return await waiting.answer

    def close(self) -> None:
        """End the thread once it has answered what it has."""
        self._thread.shutdown()

    def _start(self) -> None:
        batch = self._take()
        job = asyncio.get_running_loop().run_in_executor(
            self._thread, self._answer_each, [waiting.request for waiting in batch]
        )
        job.add_done_callback(lambda done: self._finish(batch, done.result()))

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        items = values = 0
        while self._waiting:
            items += len(self._waiting[0].request["items"])
            values += self._waiting[0].values
            if batch and (items > self._max_items or values > self._max_values):
                break
            batch.append(self._waiting.popleft())
        return batch

    def _answer_each(self, requests: Sequence[Request]) -> Sequence[bytes | Exception]:
        """In the thread. If a batch fails, each request is tried alone: one must not spoil the others."""
        try:
            return self._answer(requests)
        except Exception as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self._answer_each([request])]

    def _finish(self, batch: Sequence[_Waiting], answers: Sequence[bytes | Exception]) -> None:
        if self._waiting:
            self._start()
        else:
            self._busy = False
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():  # Its client has gone.
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
