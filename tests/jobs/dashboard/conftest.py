"""The dashboard as a process of its own, and a headless Chromium to look at it."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = """
import sys
from pathlib import Path
from jobs.dashboard.app import run_dashboard
from jobs.spec import Job
run_dashboard(Job.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""


class Dashboard:
    """Starts and stops the process; the address stays the same."""

    def __init__(self, pretended: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}/"
        # Not in the directory of the run, which is emptied between tests.
        self._job_file = pretended.run_dir.with_name("job.json")
        self.show(pretended.job)
        self._run_dir = pretended.run_dir
        self._process: subprocess.Popen[bytes] | None = None

    def show(self, make_job: Callable[..., Any]) -> None:
        """From its next start on, the job that `make_job` makes."""
        job = make_job(dashboard={"address": self.address})
        self._job_file.write_text(job.model_dump_json(by_alias=True, exclude_unset=True))

    def start(self) -> None:
        """Does nothing when it runs."""
        if self._process:
            return
        command = [sys.executable, "-c", START, str(self._job_file), str(self._run_dir)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout
        assert json.loads(self._process.stdout.readline()) == {"ready": True, "address": self.address}

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit status."""
        assert self._process
        assert self._process.stdout
        self._process.send_signal(number)
        status = self._process.wait(10)
        self._process.stdout.close()
        self._process = None
        return status

    def close(self) -> None:
        if self._process:
            self.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared_dashboard(shared_job: Any) -> Iterator[Dashboard]:
    dashboard = Dashboard(shared_job)
    yield dashboard
    dashboard.close()


@pytest.fixture
def dashboard(shared_dashboard: Dashboard, pretended: Any) -> Dashboard:
    """Runs; a test may stop it and start it again."""
    pretended.write_roles()
    pretended.write_traffic()
    shared_dashboard.start()
    return shared_dashboard


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Not for the whole session: while it is there, its event loop counts as running in this thread."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (Debian: apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def wait() -> Callable[..., None]:
    """`wait_for` with the patience that a page deserves."""
    return partial(wait_for, patience_s=20.0)
