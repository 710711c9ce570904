"""The Java engine, held to the Python one at every step it takes: whatever test runs it proves them equal."""

import base64
import json
import subprocess
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.stack.layout import JARS
from pipelines.codec import MESSAGE_BYTES, encode
from pipelines.join import state as states
from pipelines.join.expressions import ExpressionError
from pipelines.join.intake import Arrival
from pipelines.join.letters import Letter, Letters
from pipelines.join.logic import DeadLetter, Ready, Step
from pipelines.records import Action, Request
from pipelines.settings import JoinJob
from tests.pipelines.join.pool import python_join

FOREVER_MS = 1 << 60


class Harness:
    """A JVM that answers a line of JSON with another (`freshet.join.Harness`)."""

    def __init__(self) -> None:
        import importlib.util

        spec = importlib.util.find_spec("pyflink")
        assert spec is not None
        assert spec.origin is not None
        lib = Path(spec.origin).parent / "lib"
        ours = (JARS.glob(f"{name}/*.jar") for name in ("joiner", "joiner-tests", "connector", "archive"))
        flink = (lib.glob(f"flink-{name}-*.jar") for name in ("dist", "connector-files"))
        path = ":".join(map(str, chain.from_iterable((*ours, *flink))))
        command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", path, "freshet.join.Harness"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a call; bytes go and come in base64."""
        answer = self.ask(name, **arguments)
        assert "failure" not in answer, (answer, name, arguments)
        return answer

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The same; a `failure` is an answer too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"call": name, **arguments}, default=_base64)
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def open_files(self) -> list[Path]:
        """What the JVM has open."""
        import psutil

        return [Path(file.path) for file in psutil.Process(self._process.pid).open_files()]


def _alike(step: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same. Why an expression has no answer, its library says in words of its own."""
    output = [
        each | {"detail": _base64(base64.b64decode(each["detail"]).split(b": ")[0])}
        if each["reason"] == _base64(b"rule")
        else each
        for each in step["output"]
    ]
    return step | {"output": output}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@cache
def harness() -> Harness:
    """The one of this process."""
    return Harness()


class JvmEngine:
    """Runs each step in both languages, and returns the one of Java once they have been found equal."""

    def __init__(self, job: JoinJob) -> None:
        settings = job.model_dump_json(by_alias=True)
        try:
            self._python = python_join(job)
        except ExpressionError:
            assert "IllegalArgument" in harness().ask("job", settings=settings)["failure"]
            raise
        self._letters = Letters(job)
        self._limit_bytes = min(MESSAGE_BYTES, job.kafka.max_message_bytes // 2)
        self._job = harness().call("job", settings=settings)["job"]

    def on_features(
        self,
        state: states.State | None,
        request: Request,
        arrival: Arrival,
        watermark_ms: int,
        now_ms: int,
    ) -> Step:
        step = self._python.on_features(state, request, arrival, watermark_ms, now_ms)
        return self._same(step, self._event(state, arrival, watermark_ms, now_ms))

    def on_action(
        self,
        state: states.State | None,
        action: Action,
        arrival: Arrival,
        watermark_ms: Callable[[], int],
        now_ms: int,
    ) -> Step:
        step = self._python.on_action(state, action, arrival, watermark_ms, now_ms)
        return self._same(step, self._event(state, arrival, watermark_ms(), now_ms))

    def on_timer(self, state: states.State | None, timestamp_ms: int, now_ms: int) -> Step:
        step = self._python.on_timer(state, timestamp_ms, now_ms)
        return self._same(step, self._call("timer", state, timestamp=timestamp_ms, now=now_ms))

    def _event(
        self, state: states.State | None, arrival: Arrival, watermark_ms: int, now_ms: int
    ) -> dict[str, Any]:
        times = {"watermark": watermark_ms, "now": now_ms, "read": FOREVER_MS}
        return self._call("event", state, arrival=as_json(arrival), **times)

    def _call(self, name: str, state: states.State | None, **arguments: Any) -> dict[str, Any]:
        data = None if state is None else states.encode(state)
        return harness().call(name, job=self._job, state=data, **arguments)

    def _same(self, step: Step, answer: dict[str, Any]) -> Step:
        state = None if step.state is None else _base64(states.encode(step.state))
        counts = {name: number for name, number in step.counts.items() if number}
        output = [message for each in step.output for message in self._messages(each)]
        expected = {"state": state, "output": output, "counts": counts}
        if step.timer_ms is not None:
            expected["timer"] = step.timer_ms
        assert _alike(answer) == _alike(expected)
        return step

    def _messages(self, output: Ready | DeadLetter) -> list[dict[str, str | None]]:
        if isinstance(output, DeadLetter):
            return [letter_as_json(self._letters.write(output))]
        key = output.request_id.encode()
        values = encode(output.examples, output.sampled_away, output.unlabelled, self._limit_bytes)
        return [letter_as_json((key, value, None, None, None, None, None)) for value in values]


class JvmLetters:
    """Writes each letter in both languages."""

    def __init__(self, job: JoinJob) -> None:
        self._python = Letters(job)
        self._job = harness().call("job", settings=job.model_dump_json(by_alias=True))["job"]

    def write(self, letter: DeadLetter) -> Letter:
        written = self._python.write(letter)
        text = {"reason": letter.reason, "detail": letter.detail}
        answer = harness().call("letter", job=self._job, arrival=as_json(letter.arrival), **text)
        assert answer == letter_as_json(written)
        return written


def letter_as_json(letter: Any) -> dict[str, str | None]:
    """A message as the harness gives it."""
    names = ("key", "value", "topic", "partition", "offset", "reason", "detail")
    return {name: None if data is None else _base64(data) for name, data in zip(names, letter, strict=True)}


def as_json(arrival: Arrival) -> dict[str, Any]:
    """An arrival as the harness takes it."""
    return {name: getattr(arrival, name) for name in Arrival.__slots__}
