"""Where things are: in the project, and in a run directory."""

import os
import secrets
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[2]
JARS = PROJECT / ".cache" / "jars"
RUNS = Path("runs")


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @cached_property
    def job_file(self) -> Path:
        """The job with every address filled in. May hold passwords: only the owner can read it."""
        return self.path / "job.yaml"

    @cached_property
    def roles_file(self) -> Path:
        """The state of every part, for those who look from outside (`docs/formats.md`)."""
        return self.path / "roles.json"

    @cached_property
    def logs(self) -> Path:
        """NAME.log of every part."""
        return self.path / "logs"

    @cached_property
    def kafka(self) -> Path:
        """The embedded broker's data."""
        return self.path / "kafka"

    @cached_property
    def flink(self) -> Path:
        """The embedded cluster's checkpoints and savepoints, and what the joiner was submitted with."""
        return self.path / "flink"

    @cached_property
    def scratch(self) -> Path:
        """What the parts need only while they run; removed with the last of them."""
        return self.path / "tmp"

    def state_id(self) -> str:
        """What the state of this run is called where other runs keep theirs too; the same for ever."""
        file = self.flink / "state-id"
        if not file.exists():
            self.write_private(file, f"{self.path.name}-{secrets.token_hex(4)}")
        return file.read_text()

    def create(self) -> None:
        """Make the folders; raises OSError."""
        for folder in (self.logs, self.kafka, self.flink, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    def write_private(self, file: Path, text: str) -> None:
        """Write a file that only its owner can read; whole or not at all."""
        partial = file.with_name(f"{file.name}.partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
        partial.replace(file)


def latest_link(job_name: str) -> Path:
    """The link to a job's newest run directory."""
    return RUNS / f"{job_name}-latest"


def new_run_directory(job_name: str) -> RunDirectory:
    """A run directory named after job and time; the job's `-latest` link leads to it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = RUNS / f"{job_name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = RUNS / f"{job_name}-{stamp}-{number}"
    path.mkdir(parents=True)
    link = latest_link(job_name)
    # Replaced in one step: another run may be looking at it.
    partial = link.with_name(f"{link.name}.{os.getpid()}")
    partial.symlink_to(path.name)
    partial.replace(link)
    return RunDirectory(path.resolve())
