"""A broker in memory, for what publishes updates."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ps.updates import Update, decode


class MemoryBroker:
    """A producer whose broker is a list, and which fails when told to."""

    @dataclass
    class Message:
        value: bytes
        at: int

        def partition(self) -> int:
            return 0

        def offset(self) -> int:
            return self.at

    def __init__(self) -> None:
        self.complaint = ""
        self.log: list[Update] = []
        self.sizes: list[int] = []
        self.failures: Iterator[str | None] = itertools.repeat(None)
        self._queue: list[Any] = []

    def produce(self, topic: str, *, value: bytes, key: str, on_delivery: Callable[[Any, Any], None]) -> None:
        self._queue.append((value, on_delivery))

    def flush(self, timeout: float) -> int:
        queue, self._queue = self._queue, []
        for value, on_delivery in queue:
            failure = next(self.failures)
            if failure is None or failure == "acknowledgement lost":
                self.log.append(decode(value))
                self.sizes.append(len(value))
            on_delivery(failure, None if failure else self.Message(value, len(self.log) - 1))
        return 0
