"""From a Kafka record to an event the join can trust, or to the reason why not."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import orjson

from pipelines.codec import GROWTH
from pipelines.records import Action, MalformedEvent, Request, decode_action, decode_request
from pipelines.settings import JoinJob

MAX_REPETITION: Final = 16
"""Examples of one request take up to so many times `max_event_bytes`, as far as they repeat each other."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record of `features` or `actions`, as it came. `logged_ts_ms` is its Kafka timestamp."""

    is_action: bool
    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    logged_ts_ms: int


class Intake:
    """Checks size, form and time of what arrives.

    Whatever passes can be written: an example that the producer refused would fail the job at every restart.
    """

    def __init__(self, job: JoinJob) -> None:
        self._schema = job.schema_
        self._max_bytes = job.joiner.max_event_bytes
        self._max_repeated_bytes = MAX_REPETITION * self._max_bytes
        # Half of a message is left to the key, and to the names of features and labels.
        readers = Counter(feature.source for feature in job.schema_.features.values())
        self._max_example_bytes = job.kafka.max_message_bytes // (
            2 * GROWTH * max(readers.values(), default=1)
        )
        self._max_past_ms = round(job.joiner.max_past_s * 1000)
        self._max_future_ms = round(job.joiner.max_future_s * 1000)

    def read(self, arrival: Arrival, now_ms: int) -> Request | Action:
        """The event in a record. Raises MalformedEvent with the reason of the dead letter."""
        value = arrival.value
        if value is None:
            raise MalformedEvent("malformed", "the record has no value")
        event_bytes = len(value) + len(arrival.key or b"")
        if event_bytes > self._max_bytes:
            raise MalformedEvent("too-large", f"{event_bytes} bytes; at most {self._max_bytes} are taken")
        event = decode_action(value) if arrival.is_action else decode_request(value, self._schema)
        self._check_time(event.ts_ms, arrival.logged_ts_ms, now_ms)
        if isinstance(event, Request) and event.items:
            self._check_examples(event, event_bytes)
        return event

    def _check_examples(self, request: Request, event_bytes: int) -> None:
        shared_bytes = _json_bytes((request.request_id, request.user, request.context))
        repeated_bytes = len(request.items) * shared_bytes
        if repeated_bytes + event_bytes > self._max_repeated_bytes:
            raise MalformedEvent(
                "too-large",
                f"{len(request.items)} examples would repeat {shared_bytes} bytes of `user`, `context` and "
                f"`request_id`; at most {self._max_repeated_bytes} bytes in all are taken",
            )
        # One example is part of the event: as a rule the event itself is short enough.
        if event_bytes > self._max_example_bytes:
            largest_bytes = shared_bytes + max(_json_bytes(item.values) for item in request.items)
            if largest_bytes > self._max_example_bytes:
                raise MalformedEvent(
                    "too-large",
                    f"an item with its `user` and `context` has {largest_bytes} bytes; "
                    f"at most {self._max_example_bytes} fit into a message",
                )

    def _check_time(self, ts_ms: int, logged_ts_ms: int, now_ms: int) -> None:
        # One event of the year 2100 would close every window at once: the source leaves the same ones out of
        # its watermark (`pipelines.topology`).
        if ts_ms < logged_ts_ms - self._max_past_ms:
            raise MalformedEvent("timestamp", f"`ts` is {logged_ts_ms - ts_ms} ms before its record's time")
        if ts_ms > logged_ts_ms + self._max_future_ms:
            raise MalformedEvent("timestamp", f"`ts` is {ts_ms - logged_ts_ms} ms after its record's time")
        if ts_ms > now_ms + self._max_future_ms:
            raise MalformedEvent("timestamp", f"`ts` is {ts_ms - now_ms} ms ahead of the joiner's clock")


def _json_bytes(value: object) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        # It writes fewer levels than it reads.
        raise MalformedEvent("malformed", "`user`, `context` or an item is nested too deeply") from None
