"""The join as a Flink operator: rows in, keyed state and timers, rows out. The rules are in `join.logic`."""

import time
from collections.abc import Iterator
from typing import Any, Final

from pyflink.common import Row, TypeInformation, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from pipelines.codec import MESSAGE_BYTES, encode
from pipelines.join import state as states
from pipelines.join.intake import Arrival, Intake
from pipelines.join.letters import Letters
from pipelines.join.logic import DeadLetter, JoinLogic, Ready, Step
from pipelines.records import Action, MalformedEvent
from pipelines.settings import JoinJob

COUNTS: Final = (
    "impressions",
    "examples",
    "positives",
    "negatives",
    "corrections",
    "pooled",
    "sampled_away",
    "unlabelled",
    "duplicates",
    "orphans",
    "malformed",
    "late",
    "unused",
    "rule_errors",
    "left_out",
)
"""What `freshet_joiner_…` metrics count; `malformed` are all events that could not be taken in, `left_out`
the values that examples lack, being of the wrong type since the job was changed."""

END_OF_INPUT_MS: Final = (1 << 63) - 1
"""The watermark that Flink sends after the last event of a bounded input."""

_BYTES: Final = Types.PRIMITIVE_ARRAY(Types.BYTE())

ARRIVAL_TYPE: Final = Types.ROW_NAMED(
    ["is_action", "key", "value", "partition", "offset", "logged_ts_ms"],
    [Types.BOOLEAN(), _BYTES, _BYTES, Types.INT(), Types.LONG(), Types.LONG()],
)
"""An `Arrival`."""

OUTPUT_TYPE: Final = Types.ROW_NAMED(
    ["key", "value", "topic", "partition", "offset", "reason", "detail"], [_BYTES] * 7
)
"""A message and, of a dead letter, its headers; without `reason` it is for `examples`. Text goes as UTF-8:
the bridge to Java spells characters beyond the basic plane in a way of its own."""


class JoinFunction(KeyedProcessFunction):  # type: ignore[misc]
    """Joins the records of one request id.

    PyFlink has state by key only, so nothing tells a restored job how far event time had come
    (`freshet.join.SavedTimes`): until its sources have, it takes what it had forgotten for new.
    """

    def __init__(self, job: JoinJob) -> None:
        self._job = job

    def open(self, runtime_context: RuntimeContext) -> None:
        """Called by Flink in the TaskManager, before the first record."""
        job = self._job
        self._letters = Letters(job)
        self._message_bytes = min(MESSAGE_BYTES, job.kafka.max_message_bytes // 2)
        self._intake = Intake(job)
        self._logic = JoinLogic(job)
        # A type of no further kind is bytes as they are; Flink's own type of bytes is converted byte by byte.
        self._state = runtime_context.get_state(ValueStateDescriptor("request", TypeInformation()))
        metrics = runtime_context.get_metrics_group()
        self._counters = {name: metrics.counter(f"freshet_joiner_{name}") for name in COUNTS}

    def process_element(self, row: Row, context: KeyedProcessFunction.Context) -> Iterator[Row]:
        """One record of either topic."""
        arrival = Arrival(*row._values)
        now_ms = time.time_ns() // 1_000_000
        try:
            event = self._intake.read(arrival, now_ms)
        except MalformedEvent as refusal:
            self._counters["malformed"].inc()
            yield Row(*self._letters.write(DeadLetter(arrival, refusal.reason, refusal.detail)))
            return
        # A heartbeat has done its work when the source read it.
        if not (event.action if isinstance(event, Action) else event.items):
            return
        before, watermark_ms = self._read(), context.timer_service().current_watermark
        if isinstance(event, Action):
            step = self._logic.on_action(before, event, arrival, watermark_ms, now_ms)
        else:
            step = self._logic.on_features(before, event, arrival, watermark_ms(), now_ms)
        yield from self._apply(before, step, context)

    def on_timer(self, timestamp: int, context: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Event time has reached a timer of the current key."""
        # When a bounded input ends, timers fire whose time has not come: what waits goes on waiting.
        if context.timer_service().current_watermark() == END_OF_INPUT_MS:
            return
        before = self._read()
        step = self._logic.on_timer(before, timestamp, time.time_ns() // 1_000_000)
        yield from self._apply(before, step, context)

    def _read(self) -> states.State | None:
        data = self._state.value()
        return None if data is None else states.decode(data)

    def _apply(self, before: states.State | None, step: Step, context: Any) -> Iterator[Row]:
        if step.state is None:
            if before is not None:
                self._state.clear()
        elif step.state is not before:
            self._state.update(states.encode(step.state))
        if step.timer_ms is not None:
            context.timer_service().register_event_time_timer(step.timer_ms)
        for name, number in step.counts.items():
            self._counters[name].inc(number)
        for output in step.output:
            if isinstance(output, DeadLetter):
                yield Row(*self._letters.write(output))
            else:
                yield from self._ready(output)

    def _ready(self, ready: Ready) -> Iterator[Row]:
        key = ready.request_id.encode()
        for value in encode(ready.examples, ready.sampled_away, ready.unlabelled, self._message_bytes):
            yield Row(key, value, None, None, None, None, None)
