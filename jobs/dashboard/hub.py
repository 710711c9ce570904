"""One observer, many visitors: looks at the job each second and pushes what it sees to every open page."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Final

import orjson

from jobs.dashboard.history import History, flatten
from jobs.observe import Observation, Observer

INTERVAL_S: Final = 1.0
_MAX_BEHIND: Final = 30
"""A page that is so many messages behind is cut off; it comes back by itself and is sent the history."""
_logger: Final = logging.getLogger(__name__)


class Hub:
    """Lives in one event loop."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._history = History()
        self._newest: Observation | None = None
        self._visitors: set[asyncio.Queue[bytes | None]] = set()
        self._is_closed = False

    async def run(self) -> None:
        """Look each second until it is cancelled."""
        due_s = time.monotonic()
        while True:
            try:
                self.show(await asyncio.to_thread(self._observer.observe))
            except Exception:
                # The page must stay: it then shows how old its data is, and the log says why.
                _logger.exception("could not observe the job")
            # Not faster than planned after a slow look: the parts have other work.
            due_s = max(due_s + INTERVAL_S, time.monotonic() + INTERVAL_S / 4)
            await asyncio.sleep(due_s - time.monotonic())

    def show(self, seen: Observation) -> None:
        """Push one look to all."""
        self._newest = seen
        point = flatten(seen)
        self._history.add(point)
        message = _event("observation", {"point": point, "seen": asdict(seen), "age_s": _age_s(seen)})
        for queue in list(self._visitors):
            if queue.full():
                self._drop(queue)
            else:
                queue.put_nowait(message)

    async def messages(self) -> AsyncIterator[bytes]:
        """Server-sent events for one page: the history, then each look, until either side ends it."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_BEHIND)
        self._visitors.add(queue)
        try:
            yield b"retry: 1000\n\n" + self._past()
            while not self._is_closed and (message := await queue.get()) is not None:
                yield message
        finally:
            self._visitors.discard(queue)

    def close(self) -> None:
        """End all open streams."""
        self._is_closed = True
        for queue in list(self._visitors):
            self._drop(queue)

    def _past(self) -> bytes:
        seen = self._newest
        if seen is None:
            return b""
        return _event(
            "history", {"columns": self._history.columns(), "seen": asdict(seen), "age_s": _age_s(seen)}
        )

    def _drop(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._visitors.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)


def _age_s(seen: Observation) -> float:
    return round(max(0.0, time.time() - seen.at), 2)


def _event(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + orjson.dumps(value) + b"\n\n"
