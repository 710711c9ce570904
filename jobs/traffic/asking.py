"""Asks serving for the scores of a visit's candidates: keep-alive, round robin over the replicas, retries.

While serving is away a visit is tried again for `patience_s`. After that it goes unscored, and so, after
one try each, do the visits that follow until an answer comes again: traffic never stops because serving
did.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import aiohttp
import orjson

from jobs.traffic.visits import Visit

Scores = Mapping[Any, Mapping[str, float]]

TIMEOUT_S = 5.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
READY_POLL_S = 0.2


class RefusedError(Exception):
    """Serving understood the question and said no: asking again would not help."""


class Asker:
    """A client of all replicas; use it as an async context manager."""

    def __init__(
        self, addresses: Sequence[str], *, patience_s: float, stopping: asyncio.Event | None = None
    ) -> None:
        """`stopping` ends all patience."""
        self._urls = [f"http://{address}" for address in addresses]
        self._turns = itertools.cycle(self._urls)
        self._patience_s = patience_s
        self._stopping = stopping or asyncio.Event()
        self.session: aiohttp.ClientSession
        self._away = False
        self.unscored = 0
        self.last_error: str | None = None
        """Why the last visit went unscored."""

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            headers={"Content-Type": "application/json"},
            # A visit knows nobody's cookies, and parsing them costs as much as the answer.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, visit: Visit) -> Scores:
        """The answered scores by item id; empty, and counted in `unscored`, when there was no answer."""
        patient_until = time.monotonic() + (0.0 if self._away else self._patience_s)
        wait_s = FIRST_WAIT_S
        while True:
            try:
                scores = await self._post(next(self._turns), visit.question())
                self._away = False
                return scores
            except RefusedError as error:
                return self._give_up(str(error))
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
                if time.monotonic() >= patient_until or self._stopping.is_set():
                    self._away = True
                    return self._give_up(f"{type(error).__name__}: {error}")
            await self._rest(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _give_up(self, reason: str) -> Scores:
        self.unscored += 1
        self.last_error = reason
        return {}

    async def _post(self, url: str, body: bytes) -> Scores:
        async with self.session.post(f"{url}/v1/predict", data=body) as response:
            content = await response.read()
            if 400 <= response.status < 500:
                raise RefusedError(
                    f"{url} answered {response.status}: {content[:200].decode(errors='replace')}"
                )
            response.raise_for_status()
        return {item["item_id"]: item["scores"] for item in orjson.loads(content)["items"]}

    async def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait until every replica says it is ready; False when `timeout_s` has passed before."""
        end = time.monotonic() + timeout_s
        while not all([await self._succeeds("GET", f"{url}/readyz") for url in self._urls]):
            if time.monotonic() >= end or self._stopping.is_set():
                return False
            await self._rest(READY_POLL_S)
        return True

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def freeze(self) -> bool:
        """Have every replica keep its present parameters for comparison; False when one did not."""
        return all([await self._succeeds("POST", f"{url}/v1/freeze") for url in self._urls])

    async def _succeeds(self, method: str, url: str) -> bool:
        try:
            async with self.session.request(method, url) as response:
                await response.read()
                return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return False
