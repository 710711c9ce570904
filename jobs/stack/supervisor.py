"""Starts the parts in order of need, starts those again that die, stops all of them whatever happens.

It is driven by `tick` from one thread, the main thread: see `jobs.stack.process`.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from jobs.errors import JobError
from jobs.stack.layout import RunDirectory
from jobs.stack.part import Part, PartLostError, State
from jobs.stack.process import Process, stop_all

START_S = 180.0
"""A part that is not ready after so long never will be."""
RESTART_S = (0.0, 2.0, 5.0)
"""Pauses before the first, second, … restart within `MEMORY_S`; with one more death the run has failed."""
MEMORY_S = 120.0
TAIL_LINES = 12
REPORT_S = 1.0
STOP_S = 20.0


class Supervisor:
    """The parts of one run; `announce` is told of every change of a part's state."""

    def __init__(
        self, job_name: str, run: RunDirectory, parts: Sequence[Part], announce: Callable[[Part], None]
    ) -> None:
        self._job_name, self._run, self._announce = job_name, run, announce
        self.parts = {part.name: part for part in parts}
        self._state = "starting"
        self._error: str | None = None
        self._started_s = time.time()
        self._reported_s = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether every part is ready, or has done its work."""
        return all(part.state in (State.READY, State.STOPPED) for part in self.parts.values())

    def tick(self, *, resume: bool) -> None:
        """Look at every part once; raises JobError when one is lost for good."""
        for part in self.parts.values():
            before = part.state
            self._look_at(part, resume)
            if part.state != before:
                self._changed(part)
        if self._state == "starting" and self.is_ready:
            self._state = "running"
        if time.monotonic() - self._reported_s > REPORT_S:
            self.report()

    def _look_at(self, part: Part, resume: bool) -> None:
        match part.state:
            case State.WAITING if self._has_what_it_needs(part):
                self._start(part, resume)
            case State.RESTARTING if part.process is None:
                if time.monotonic() >= part.deaths_s[-1] + _pause_s(part) and self._has_what_it_needs(part):
                    self._start(part, resume=True)
            case State.STARTING:
                self._look_at_starting(part)
            case State.READY | State.RESTARTING:
                self._look_at_running(part)

    def _has_what_it_needs(self, part: Part) -> bool:
        return all(self.parts[name].state == State.READY for name in part.needs)

    def _start(self, part: Part, resume: bool) -> None:
        try:
            part.start(self._run.logs / f"{part.name}.log", resume=resume)
        except OSError as error:
            raise JobError(f"{part.name} can't be started: {_in_words(error, self._run)}") from error

    def _look_at_starting(self, part: Part) -> None:
        if part.is_ready(part):
            part.error = None
            part.enter(State.READY)
        elif (how := _death_of(part)) is not None:
            self._on_death(part, how)
        elif time.time() - part.since_s > START_S:
            raise JobError(f"{part.name} is not ready after {START_S:.0f} s. {self._end_of_log(part)}")

    def _look_at_running(self, part: Part) -> None:
        if (how := _death_of(part)) is not None:
            self._on_death(part, how)
        elif part.is_over():
            part.enter(State.STOPPED)
        elif part.check is not None:
            self._check(part, part.check)
        elif part.process is not None and part.process.status() == 0:
            part.enter(State.STOPPED)

    def _check(self, part: Part, check: Callable[[Part], str | None]) -> None:
        try:
            part.error = check(part)
        except PartLostError as lost:
            self._on_death(part, str(lost))
        else:
            part.enter(State.READY if part.error is None else State.RESTARTING)

    def _on_death(self, part: Part, how: str) -> None:
        """Plan its restart, or give the run up: when it dies again and again, or refused to start at all."""
        status = part.process.status() if part.process else None
        if part.process is not None:
            part.process.kill()
        part.process = None
        part.error = f"{part.name} {how}. {self._end_of_log(part)}"
        now_s = time.monotonic()
        part.deaths_s = [*(at for at in part.deaths_s if now_s - at < MEMORY_S), now_s]
        has_refused = part.state == State.STARTING and (status or 0) > 0 and not part.restarts
        if has_refused or len(part.deaths_s) > len(RESTART_S):
            part.enter(State.FAILED)
            raise JobError(part.error)
        part.restarts += 1
        part.enter(State.RESTARTING)

    def _end_of_log(self, part: Part) -> str:
        log = self._run.logs / f"{part.name}.log"
        try:
            with log.open("rb") as lines:
                lines.seek(max(0, lines.seek(0, os.SEEK_END) - 8000))
                tail = lines.read().decode(errors="replace").rstrip().splitlines()[-TAIL_LINES:]
        except OSError:
            tail = []
        return "\n".join([f"The end of {log}:", *(f"    {line}" for line in tail)])

    def stop(self, roles: Iterable[str], patience_s: float = STOP_S) -> None:
        """Stop the parts with these roles, all at the same time."""
        wanted = set(roles)
        parts = [part for part in self.parts.values() if part.role in wanted]
        self._state = "stopping"
        self.report()
        stop_all(_processes(parts), patience_s)
        for part in parts:
            if part.state != State.FAILED:
                part.enter(State.STOPPED)

    def kill(self) -> None:
        """End whatever is still there, at once."""
        stop_all(_processes(self.parts.values()), 0.0)

    def finish(self, error: str | None) -> None:
        """The last report: stopped, or failed and why."""
        self._state, self._error = ("failed", error) if error else ("stopped", None)
        self.report()

    def _changed(self, part: Part) -> None:
        self._announce(part)
        self.report()

    def report(self) -> None:
        """Write RUN/roles.json."""
        self._reported_s = time.monotonic()
        report: dict[str, Any] = {
            "job": self._job_name,
            "pid": os.getpid(),
            "state": self._state,
            "started": self._started_s,
            "updated": time.time(),
            "error": self._error,
            "parts": [part.described() for part in self.parts.values()],
        }
        text = orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()
        try:
            self._run.write_private(self._run.roles_file, text)
        except OSError as error:
            if self._state not in ("stopping", "failed"):
                raise JobError(f"RUN/roles.json can't be written: {_in_words(error, self._run)}") from error


def _processes(parts: Iterable[Part]) -> list[Process]:
    return [part.process for part in parts if part.process is not None]


def _pause_s(part: Part) -> float:
    return RESTART_S[min(len(part.deaths_s), len(RESTART_S)) - 1]


def _death_of(part: Part) -> str | None:
    """How the part's process ended, None when it runs or has done its work."""
    status = part.process.status() if part.process else None
    if status is None or (status == 0 and (part.check is not None or part.is_finite)):
        return None
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def _in_words(error: OSError, run: RunDirectory) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk of {run.path} is full; make room, or name another place with --run-dir."
    return f"{error.strerror or error} ({error.filename or run.path})."
