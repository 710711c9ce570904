"""What a run says of itself in RUN/roles.json, and whether the process that says it still runs."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobs.errors import JobError
from jobs.stack.layout import RUNS

_ENDED: Final = ("stopped", "failed")
_CLOCK_S: Final = 2.0
"""Start times of processes are known this exactly."""


@dataclass(frozen=True)
class Record:
    """One run: its directory and its newest roles.json."""

    path: Path
    roles: dict[str, Any]

    @property
    def job(self) -> str:
        """The job's name."""
        return str(self.roles.get("job", self.path.name))

    @property
    def state(self) -> str:
        """As written; `lost` when it should be running and is not."""
        state = str(self.roles.get("state", "unknown"))
        return state if state in _ENDED or self.is_alive else "lost"

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Name, role, state, … of every part."""
        return [part for part in self.roles.get("parts", []) if isinstance(part, dict)]

    @property
    def pid(self) -> int | None:
        """The supervisor's process while it runs; None afterwards, also when its number is another's now."""
        import psutil

        pid, started_s = self.roles.get("pid"), self.roles.get("started")
        if not isinstance(pid, int) or not isinstance(started_s, int | float) or pid <= 0:
            return None
        try:
            process = psutil.Process(pid)
            # The number was the supervisor's when the run started: a process that is younger is another.
            is_same = process.create_time() <= started_s + _CLOCK_S
            return pid if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def is_alive(self) -> bool:
        """Whether the supervisor runs."""
        return self.pid is not None


def read_record(path: Path) -> Record:
    """The run at `path`; raises JobError (2) when there is none."""
    file = path / "roles.json"
    # It is replaced, never rewritten: what can be opened is whole.
    try:
        roles = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise JobError(f"{path} is no run: it has no roles.json.", exit_status=2) from error
    except (OSError, ValueError) as error:
        raise JobError(f"{file} can't be read: {error}.", exit_status=2) from error
    if not isinstance(roles, dict):
        raise JobError(f"{file} is not what a run writes.", exit_status=2)
    return Record(path, roles)


def find_run(name: str | None) -> Record:
    """The run called `name` (a directory, one in runs/, or a job), or the newest; raises JobError (2)."""
    if name is None:
        return _newest()
    places = (Path(name), RUNS / name, RUNS / f"{name}-latest")
    found = next((place for place in places if (place / "roles.json").exists()), None)
    if found is None:
        known = ", ".join(run_names()) or "none"
        raise JobError(f"there is no run {name!r}; runs here: {known}.", exit_status=2)
    return read_record(found.resolve())


def run_names() -> list[str]:
    """The jobs that have a run below the working directory."""
    return sorted(link.name.removesuffix("-latest") for link in _latest())


def _latest() -> Iterator[Path]:
    return (link for link in RUNS.glob("*-latest") if (link / "roles.json").exists())


def _newest() -> Record:
    records = [read_record(link.resolve()) for link in _latest()]
    if not records:
        raise JobError(
            f"there is no run in {RUNS.resolve()}: start one with `freshet run jobs/demo.yaml`, "
            "or name a run's directory.",
            exit_status=2,
        )
    return max(records, key=lambda record: float(record.roles.get("started") or 0))


def wait_until_gone(record: Record, patience_s: float) -> bool:
    """Whether the supervisor ends within `patience_s`."""
    deadline_s = time.monotonic() + patience_s
    while record.is_alive:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True
