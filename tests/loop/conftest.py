"""`freshet run` as a user starts it, in a process of its own with a directory of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"


class Started:
    """A `freshet run`, and what can be seen of it from outside."""

    def __init__(self, directory: Path, job: Path, *arguments: str) -> None:
        self.directory, self.temporary = directory / "run", directory / "tmp"
        self.temporary.mkdir(exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "jobs",
            "run",
            str(job),
            "--run-dir",
            str(self.directory),
            *arguments,
        ]
        self.output = directory / f"output-{time.monotonic_ns()}"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env={**os.environ, "TMPDIR": str(self.temporary)},
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        wait_for(self._is_ready, f"all parts to be ready; so far:\n{self.said}")

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.said
        # A resumed run finds the file of the one before.
        return "Dashboard:" in self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def job(self) -> dict[str, Any]:
        """The job with all addresses."""
        return YAML(typ="safe").load(self.directory / "job.yaml")

    def part(self, name: str) -> dict[str, Any]:
        report = json.loads((self.directory / "roles.json").read_text())
        return next(part for part in report["parts"] if part["name"] == name)

    def traffic(self) -> dict[str, Any]:
        file = self.directory / "traffic.json"
        return json.loads(file.read_text()) if file.exists() else {"impressions": 0}

    def summary(self) -> dict[str, Any]:
        return json.loads((self.directory / "summary.json").read_text())

    def kill(self, name: str) -> None:
        """SIGKILL a part, and wait until it is back."""
        part = self.part(name)
        os.kill(part["pid"], signal.SIGKILL)
        wait_for(
            lambda: self.part(name)["restarts"] > part["restarts"] and self.part(name)["state"] == "ready",
            f"{name} to come back; so far:\n{self.said}",
        )

    def get(self, address: str, path: str) -> str:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def finish(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(patience_s)

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.finish()

    def assert_nothing_is_left(self) -> None:
        assert not processes_of(self.directory)
        assert not list(self.temporary.iterdir())
        assert not (self.directory / "tmp").exists()
        assert not [address for address in addresses_of(self.job) if is_listening(address)]


def processes_of(directory: Path) -> list[str]:
    """Command lines of the processes that know `directory`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(directory) in line:
            found.append(line)
    return found


def addresses_of(job: dict[str, Any]) -> list[str]:
    """Every address of a part in a job file."""
    single = [job["kafka"]["bootstrap"], job["joiner"]["flink_address"]]
    single += [job["traffic"]["metrics_address"], job["dashboard"]["address"]]
    blocks = [job["ps"], job["trainer"], job["serving"], job["joiner"]]
    several = [block.get(key, ()) for block in blocks for key in ("addresses", "metrics_addresses")]
    return [*single, *(address for addresses in several for address in addresses)]


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """`start(job, *arguments)`, or `start(job, *arguments, resume=earlier)`; all are gone after the tests."""
    started: list[Started] = []

    def start_one(job: Path, *arguments: str, resume: Started | None = None) -> Started:
        if resume is None:
            directory = tmp_path_factory.mktemp("loop")
        else:
            directory, arguments = resume.directory.parent, (*arguments, "--resume")
        started.append(Started(directory, job, *arguments))
        return started[-1]

    yield start_one
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        # What the supervisor starts dies with it.
        wait_for(lambda each=each: not processes_of(each.directory), "the parts to die", 30)
