"""A run as its parts leave it: events in, and what a joiner made of them, on a broker inside this process."""

import uuid
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer

from jobs.spec import Job
from jobs.summary.summarize import summarize
from pipelines.codec import encode
from pipelines.records import Example
from tests.films import films

START_MS = 1_764_000_000_000
FAR_MS = START_MS + 10**9
SUMS = ("in", "out", "sampled", "dead", "waiting")
"""Without `unlabelled`, which is 0 unless a test says so."""


class Topics:
    """The five topics of one job, and what is put into them. `label`: more of its label."""

    def __init__(self, bootstrap: str, **label: Any) -> None:
        run = uuid.uuid4().hex
        names = ("features", "actions", "examples", "dead_letters", "updates")
        self.names = {name: f"{name}-{run}" for name in names}
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        for name in self.names.values():
            # Asking for a topic creates it.
            self._producer.list_topics(name, timeout=10)
        self.kafka = {"bootstrap": bootstrap, "topics": self.names, "client": {"log_level": "0"}}
        job = films(kafka=self.kafka)
        job["schema"]["labels"]["click"] |= label
        self.job = Job.model_validate(job)

    def put(
        self, topic: str, value: bytes | None, key: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        encoded = {name: str(header).encode() for name, header in (headers or {}).items()}
        self._producer.produce(self.names[topic], value, key, 0, headers=encoded)

    def request(self, number: int, *items: int) -> None:
        self.put("features", orjson.dumps(request(number, *items)))

    def action(self, number: int, item: int, action: str = "click", **more: Any) -> None:
        event = {"request_id": f"r-{number}", "item_id": item, "action": action, "ts": START_MS + number}
        self.put("actions", orjson.dumps(event | more))

    def heartbeat(self, ts_ms: int = FAR_MS) -> None:
        self.put("features", orjson.dumps({"ts": ts_ms, "items": []}))
        self.put("actions", orjson.dumps({"ts": ts_ms, "action": ""}))

    def joined(self, number: int, *examples: Example, sampled_away: int = 0, unlabelled: int = 0) -> None:
        self.put("examples", b"".join(encode(examples, sampled_away, unlabelled)), f"r-{number}")

    def dead(self, topic: str, value: bytes | None, offset: int, reason: str) -> None:
        """`topic`: one of the five, or in what else the event was."""
        place = {"topic": self.names.get(topic, topic), "partition": 0, "offset": offset}
        self.put("dead_letters", value, headers={**place, "reason": reason, "detail": ""})

    def flush(self) -> None:
        assert self._producer.flush(10) == 0

    def summarize(self, run_dir: Path) -> dict[str, Any]:
        self.flush()
        return summarize(self.job, run_dir)


def request(number: int, *items: int, ts_ms: int | None = None) -> dict[str, Any]:
    """An event of `features`."""
    shown = [{"item_id": item} for item in items]
    return {"request_id": f"r-{number}", "ts": ts_ms or START_MS + number, "items": shown}


def example(number: int, item: int, label: float, *, rate: float = 1.0, **scores: float) -> Example:
    """What an item of a request teaches; the score `click@frozen` is given as `click_at_frozen`."""
    return Example(
        request_id=f"r-{number}",
        item_id=str(item),
        ts_ms=START_MS + number,
        joined_ts_ms=START_MS + 1000 * number,
        action_ts_ms=0,
        action_logged_ts_ms=0,
        sampling_rate=rate,
        features={"item_id": item},
        labels={"click": label},
        masks={"click": 1.0},
        scores={name.replace("_at_", "@"): score for name, score in scores.items()},
    )


def sums(accounting: dict[str, Any]) -> tuple[int, ...]:
    return tuple(accounting[name] for name in SUMS)
