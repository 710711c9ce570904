"""One process of the stack: started with a log of its own, ended with everything it started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_TAIL_BYTES = 20_000


def _die_with_parent() -> None:
    """Nothing outlives a supervisor that was killed without being able to stop its parts."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A running process, leader of its own group: a Ctrl-C at the terminal reaches only the supervisor.

    Must be started from the main thread: it is killed when the thread that started it ends.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as output:
            self._begins = output.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self) -> bytes:
        """What it has logged so far, at most the last 20 kB."""
        with self._log.open("rb") as log:
            log.seek(max(self._begins, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return log.read()

    def starts_with(self, prefix: bytes) -> bytes | None:
        """The first line it logged that starts with `prefix`, of the first 20 kB."""
        with self._log.open("rb") as log:
            log.seek(self._begins)
            lines = log.read(_TAIL_BYTES).splitlines(keepends=True)
        return next((line for line in lines if line.startswith(prefix) and line.endswith(b"\n")), None)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        if self.status() is None:
            self._process.send_signal(number)

    def wait(self, patience_s: float) -> bool:
        """Whether it ends within `patience_s`."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and its whole group at once; also what a leader that is gone has left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def stop_all(processes: Sequence[Process], patience_s: float) -> None:
    """SIGTERM to all, and SIGKILL to what is left of their groups after `patience_s`."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline_s = time.monotonic() + patience_s
    for process in processes:
        process.wait(max(0.0, deadline_s - time.monotonic()))
        process.kill()
