"""How a job on the Flink cluster is, as its part of the stack is asked again and again."""

import time
from contextlib import suppress
from typing import Final

from jobs.stack.flink import Flink
from jobs.stack.part import Part, PartLostError
from jobs.stack.rest import FlinkUnreachableError, is_running

_CHECK_S: Final = 1.0
"""How often the cluster is asked for the state of its jobs."""


class FlinkJob:
    """The job that `flink` submits."""

    def __init__(self, flink: Flink, is_embedded: bool) -> None:
        self._flink = flink
        self._is_embedded = is_embedded
        self._looked_s = 0.0
        self._trouble: str | None = None
        self.is_over = False
        """It has come to its end."""

    def trouble(self, part: Part) -> str | None:
        """What keeps it from running, if anything; raises PartLostError when the cluster has lost it."""
        if time.monotonic() - self._looked_s > _CHECK_S:
            self._looked_s = time.monotonic()
            self._look()
        return self._trouble

    def _look(self) -> None:
        self._trouble = _trouble_of(self._flink)
        with suppress(FlinkUnreachableError):
            self.is_over = self._trouble is None and self._flink.has_finished()
        if self._trouble is None and not self._is_embedded:
            with suppress(FlinkUnreachableError):
                self._flink.remember_checkpoint()

    def is_running(self, part: Part) -> bool:
        """Whether it has been submitted and nothing keeps it from running."""
        has_submitted = part.process is not None and part.process.status() == 0
        try:
            return has_submitted and self.trouble(part) is None
        except PartLostError:
            return False


def _trouble_of(flink: Flink) -> str | None:
    """What keeps the job from running, if anything; raises PartLostError when the cluster has lost it."""
    try:
        live = flink.rest.live_job(flink.name)
        if live is None and flink.has_finished():
            return None
        if live is None:
            raise PartLostError(f"is not among the jobs of Flink at {flink.address}")
        if is_running(live):
            return None
        cause = flink.rest.root_cause(live["jid"])
    except FlinkUnreachableError as error:
        return f"Flink does not answer: {error}"
    running = f"{live['tasks']['running']} of {live['tasks']['total']} tasks run"
    return f"the job is {live['state'].lower()}, {running}{f': {cause}' if cause else ''}"
