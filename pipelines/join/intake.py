"""From a Kafka record to an event the join can trust, or to the reason why not."""

from dataclasses import dataclass

from pipelines.records import Action, MalformedEvent, Request, decode_action, decode_request
from pipelines.settings import JoinJob


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
    """Checks size, form and time of what arrives."""

    def __init__(self, job: JoinJob) -> None:
        self._schema = job.schema_
        self._max_bytes = job.joiner.max_event_bytes
        self._max_past_ms = round(job.joiner.max_past_s * 1000)
        self._max_future_ms = round(job.joiner.max_future_s * 1000)

    def read(self, arrival: Arrival, now_ms: int) -> Request | Action:
        """The event in a record. Raises MalformedEvent with the reason of the dead letter."""
        value = arrival.value
        if value is None:
            raise MalformedEvent("malformed", "the record has no value")
        if len(value) > self._max_bytes:
            raise MalformedEvent("too-large", f"{len(value)} bytes; at most {self._max_bytes} are taken")
        event = decode_action(value) if arrival.is_action else decode_request(value, self._schema)
        self._check_time(event.ts_ms, arrival.logged_ts_ms, now_ms)
        return event

    def _check_time(self, ts_ms: int, logged_ts_ms: int, now_ms: int) -> None:
        # One event of the year 2100 would close every window at once: the source leaves the same ones out of
        # its watermark (`pipelines.topology`).
        if ts_ms < logged_ts_ms - self._max_past_ms:
            raise MalformedEvent("timestamp", f"`ts` is {logged_ts_ms - ts_ms} ms before its record's time")
        if ts_ms > logged_ts_ms + self._max_future_ms:
            raise MalformedEvent("timestamp", f"`ts` is {ts_ms - logged_ts_ms} ms after its record's time")
        if ts_ms > now_ms + self._max_future_ms:
            raise MalformedEvent("timestamp", f"`ts` is {ts_ms - now_ms} ms ahead of the joiner's clock")
