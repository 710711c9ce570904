"""The join with a pool, in Python: what the engine in Java, which alone has one, is held to."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson

from pipelines.codec import encode_example
from pipelines.join.intake import Arrival
from pipelines.join.logic import JoinLogic, Ready, Step
from pipelines.join.sampling import distinct
from pipelines.join.state import Closed, State, Waiting
from pipelines.records import Action, Example, Item, Request, extract, float32, parse_request
from pipelines.settings import JoinJob

PLACE_BYTES = 1024
MARGIN_BYTES = 1 << 13
"""Of a message: its key, and what Kafka adds."""


class Pool:
    """The items shown last, the oldest first."""

    def __init__(self, size: int) -> None:
        self._items: deque[Item] = deque(maxlen=size)
        self._max_bytes = PLACE_BYTES * size

    def show(self, request: Request) -> None:
        """Remembers the distinct items of a request."""
        for position in distinct(request).values():
            self._items.append(request.items[position])
            while sum(len(orjson.dumps(item.values)) for item in self._items) > self._max_bytes:
                self._items.popleft()

    def draw(self, text: str) -> tuple[Item, float]:
        """The item that a text comes to, and the share of its id among all."""
        digest = blake2b(text.encode(), digest_size=8).digest()
        item = self._items[int.from_bytes(digest, "little") % len(self._items)]
        return item, float32(sum(each.item_id == item.item_id for each in self._items) / len(self._items))

    def __len__(self) -> int:
        return len(self._items)


class PooledJoin:
    """`JoinLogic` whose positives are followed by draws; `pool`: what has been shown so far."""

    def __init__(self, job: JoinJob) -> None:
        assert job.joiner.pool is not None
        self._job, self._settings, self._join = job, job.joiner.pool, JoinLogic(job)
        self._label = self._settings.label or next(iter(job.schema_.labels))
        self.pool = Pool(self._settings.size)

    def on_features(
        self, state: State | None, request: Request, arrival: Arrival, watermark_ms: int, now_ms: int
    ) -> Step:
        step = self._join.on_features(state, request, arrival, watermark_ms, now_ms)
        if isinstance(step.state, Waiting) and not isinstance(state, Waiting | Closed):
            self.pool.show(request)
        return self._with_draws(step)

    def on_action(
        self,
        state: State | None,
        action: Action,
        arrival: Arrival,
        watermark_ms: Callable[[], int],
        now_ms: int,
    ) -> Step:
        return self._with_draws(self._join.on_action(state, action, arrival, watermark_ms, now_ms))

    def on_timer(self, state: State | None, timestamp_ms: int, now_ms: int) -> Step:
        return self._join.on_timer(state, timestamp_ms, now_ms)

    def _with_draws(self, step: Step) -> Step:
        for place, ready in enumerate(step.output):
            if isinstance(ready, Ready):
                (positive,) = ready.examples
                drawn = tuple(self._draws(positive, step.state))
                step.output[place] = replace(ready, examples=(positive, *drawn))
                if drawn:
                    step.count("examples", len(drawn))
                    step.count("pooled", len(drawn))
        return step

    def _draws(self, positive: Example, state: Any) -> Iterator[Example]:
        distance_ms = abs(positive.action_ts_ms - positive.ts_ms)
        is_in_window = distance_ms <= self._job.schema_.labels[self._label].window_s * 1000
        if not (positive.masks[self._label] and is_in_window) or self._label in positive.was:
            return
        for number in range(self._settings.negatives if len(self.pool) else 0):
            text = f"{self._job.seed}\0{positive.request_id}\0{positive.item_id}\0{number}"
            item, share = self.pool.draw(text)
            example = self._example(positive, parse_request(state.value), item, share)
            room_bytes = self._job.kafka.max_message_bytes - MARGIN_BYTES
            if item.item_id != positive.item_id and len(encode_example(example)) <= room_bytes:
                yield example

    def _example(self, positive: Example, request: Request, item: Item, share: float) -> Example:
        none = dict.fromkeys(self._job.schema_.labels, 0.0)
        return replace(
            positive,
            item_id=item.item_id,
            action_ts_ms=0,
            action_logged_ts_ms=0,
            sampling_rate=1.0,
            features=extract(self._job.schema_, request.user, request.context, item.values),
            labels=none,
            masks=none,
            scores={},
            was={},
            pool_probability=share,
            pool_for=positive.item_id,
        )


def python_join(job: JoinJob) -> JoinLogic | PooledJoin:
    """What a job is in Python."""
    return JoinLogic(job) if job.joiner.pool is None else PooledJoin(job)
