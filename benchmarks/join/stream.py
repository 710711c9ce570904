"""The events of a run: requests with 15 features an item, and actions on a tenth of the impressions."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import confluent_kafka
import numpy as np
import orjson

from ps.arrays import Int32, Int64

WINDOW_S: Final = 600
OUT_OF_ORDER_S: Final = 2
ACTIONS_PER_IMPRESSION: Final = 0.1
USERS, CONTEXTS, CATALOGUE = 10_000, 500, 10_000
SCHEMA: Final[dict[str, dict[str, str]]] = {
    "user": {"user_id": "int", "age": "int", "country": "string", "language": "string", "tenure_days": "int"},
    "context": {"hour": "int", "weekday": "int", "device": "string", "surface": "string"},
    "item": {
        "item_id": "int",
        "category": "int",
        "author_id": "int",
        "length_s": "float",
        "price": "float",
        "ctr_7d": "float",
    },
}
"""Where each feature stands, and its type."""
_SPREAD, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
_BACKLOG = 200_000


class Record(NamedTuple):
    """An event on its way to Kafka."""

    partition: int
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Phase:
    """So many requests, so close in event time that `waiting` impressions wait when a window has passed."""

    requests: int
    waiting: int


@dataclass(frozen=True)
class Stream:
    """Requests in order of time, and the actions on them in order of theirs.

    An impression is numbered: request x `items` + position.
    """

    items: int
    partitions: int
    ts_ms: Int64
    first_item: Int32
    """Of each request; the others follow it in the catalogue."""
    action_ts_ms: Int64
    action_impression: Int64

    @property
    def requests(self) -> int:
        return len(self.ts_ms)

    def first(self, requests: int) -> "Stream":
        """The stream as far as its first requests go."""
        chosen = self.action_impression < requests * self.items
        return Stream(
            self.items,
            self.partitions,
            self.ts_ms[:requests],
            self.first_item[:requests],
            self.action_ts_ms[chosen],
            self.action_impression[chosen],
        )

    def request_events(self, *, one_item: bool) -> Iterator[Record]:
        """Every request; with `one_item` as often as it has items, each time with one of them."""
        random = Random(1)
        users = [orjson.dumps(_user(random)) for _ in range(USERS)]
        contexts = [orjson.dumps(_context(random)) for _ in range(CONTEXTS)]
        catalogue = [orjson.dumps(_item(number, random)) for number in range(CATALOGUE)]
        width = 1 if one_item else self.items
        shown = [b",".join(catalogue[first : first + width]) for first in range(CATALOGUE)]
        value = b'{"request_id":"%b","ts":%d,"user":%b,"context":%b,"items":[%b]}'
        for request, (ts_ms, first) in enumerate(
            zip(self.ts_ms.tolist(), self.first_item.tolist(), strict=True)
        ):
            key, partition = request_id(request), request % self.partitions
            user, context = users[request * 7919 % USERS], contexts[request * 31 % CONTEXTS]
            for start in range(first, first + self.items, width):
                yield Record(partition, key, value % (key, ts_ms, user, context, shown[start]))

    def action_events(self, first: int, last: int) -> Iterator[Record]:
        """The actions from number `first` to before `last`."""
        impressions = self.action_impression[first:last]
        requests, items = impressions // self.items, self.item_ids(impressions)
        value = b'{"request_id":"%b","item_id":%d,"action":"click","value":1,"ts":%d}'
        for request, item_id, ts_ms in zip(
            requests.tolist(), items.tolist(), self.action_ts_ms[first:last].tolist(), strict=True
        ):
            key = request_id(request)
            yield Record(request % self.partitions, key, value % (key, item_id, ts_ms))

    def item_ids(self, impressions: Int64) -> Int64:
        numbers: Int64 = self.first_item[impressions // self.items] + impressions % self.items
        return numbers


def make_stream(items: int, phases: Sequence[Phase], partitions: int) -> Stream:
    """The same stream for the same arguments but for its times: it ends now."""
    rng, window_ms = np.random.default_rng(1), WINDOW_S * 1000
    offsets_ms = np.cumsum(
        np.concatenate([np.full(p.requests, window_ms * items / p.waiting) for p in phases])
    )
    ts_ms = (time.time() * 1000 - offsets_ms[-1] + offsets_ms).astype(np.int64)
    first_item = rng.integers(0, CATALOGUE - items, len(ts_ms), np.int32)
    chosen = np.flatnonzero(rng.random(len(ts_ms) * items) < ACTIONS_PER_IMPRESSION)
    delays_ms = rng.exponential(window_ms / 6, len(chosen)) % window_ms
    action_ts_ms = ts_ms[chosen // items] + delays_ms.astype(np.int64)
    order = np.argsort(action_ts_ms, kind="stable")
    return Stream(items, partitions, ts_ms, first_item, action_ts_ms[order], chosen[order])


def request_id(request: int) -> bytes:
    """Ids in no order, as users' are."""
    return b"%016x" % (request * _SPREAD & _MASK)


def _user(random: Random) -> dict[str, Any]:
    return {
        "user_id": random.randrange(10_000_000),
        "age": random.randrange(13, 90),
        "country": random.choice(("de", "fr", "us", "br", "in", "jp")),
        "language": random.choice(("de", "fr", "en", "pt", "hi", "ja")),
        "tenure_days": random.randrange(3000),
    }


def _context(random: Random) -> dict[str, Any]:
    return {
        "hour": random.randrange(24),
        "weekday": random.randrange(7),
        "device": random.choice(("android", "ios", "web")),
        "surface": random.choice(("home", "search", "related")),
    }


def _item(item_id: int, random: Random) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "category": random.randrange(200),
        "author_id": random.randrange(1_000_000),
        "length_s": round(random.uniform(5, 600), 1),
        "price": round(random.uniform(1, 100), 2),
        "ctr_7d": round(random.random(), 4),
    }


class Writer:
    """Writes records to a topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": _BACKLOG,
            }
        )

    def write(self, records: Iterator[Record]) -> int:
        """Bytes of the values, when all of them are acknowledged."""
        written_bytes = 0
        for record in records:
            written_bytes += len(record.value)
            while not self._takes(record):
                self._producer.poll(0.05)
        self._producer.flush()
        return written_bytes

    def _takes(self, record: Record) -> bool:
        try:
            self._producer.produce(self.topic, record.value, record.key, record.partition)
        except BufferError:
            return False
        return True
