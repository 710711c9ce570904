"""One part of the loop as the supervisor sees it: what it needs, how it is started, whether it is ready."""

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.stack.process import Process

READY_LINE = b'{"ready":'


class State(enum.StrEnum):
    """What a part is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class PartLostError(Exception):
    """What a part had handed over is gone; the message says what and why."""


@dataclass
class Part:
    """A part: one process, or, for the joiner, what a process left on a Flink cluster."""

    name: str
    role: str
    index: int
    command: Callable[[bool], Sequence[str]]
    """The command to start it with; True: go on from what an earlier process of this part has kept."""
    is_ready: Callable[["Part"], bool]
    needs: tuple[str, ...] = ()
    """Names of the parts that have to be ready before it can start."""
    address: str | None = None
    env: Mapping[str, str] | None = None
    prepare: Callable[[], None] = lambda: None
    """Called in this process before each start; may raise JobError."""
    check: Callable[["Part"], str | None] | None = None
    """Of a part whose process ends when its work is handed over: what is wrong with it now, if anything.
    May raise PartLostError."""
    is_over: Callable[[], bool] = lambda: False
    """Of such a part: whether the work is done."""
    is_finite: bool = False
    """It may end by itself, when its work is done."""
    state: State = State.WAITING
    process: Process | None = None
    since_s: float = field(default_factory=time.time)
    deaths_s: list[float] = field(default_factory=list)
    """When it died (monotonic), the newest last."""
    restarts: int = 0
    error: str | None = None

    def start(self, log: Path, *, resume: bool) -> None:
        """Start its process."""
        self.prepare()
        self.process = Process(self.command(resume), log, self.env)
        self.enter(State.STARTING)

    def enter(self, state: State) -> None:
        """Note the new state and the time."""
        if state != self.state:
            self.state, self.since_s = state, time.time()

    def described(self) -> dict[str, Any]:
        """As in RUN/roles.json."""
        return {
            "name": self.name,
            "role": self.role,
            "index": self.index,
            "pid": self.process.pid if self.process and self.process.status() is None else None,
            "state": str(self.state),
            "since": round(self.since_s, 3),
            "restarts": self.restarts,
            "address": self.address,
            "log": f"logs/{self.name}.log",
            "error": self.error,
        }


def has_said_ready(part: Part) -> bool:
    """Whether the part has printed its ready line, as all parts of our own do."""
    return part.process is not None and part.process.starts_with(READY_LINE) is not None
