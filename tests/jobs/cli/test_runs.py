import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import report
from tests.jobs.command import invoke

DEMO = Path(__file__).parents[3] / "jobs" / "demo.yaml"
SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


@pytest.fixture(autouse=True)
def workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "BETWEEN_LOOKS_S", 0.0)


class Supervisors:
    """Processes that pretend to be supervisors."""

    def __init__(self) -> None:
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, code: str = SLEEPER) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        self._all.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def end(self) -> None:
        for process in self._all:
            process.kill()
            process.communicate()


@pytest.fixture
def supervisors() -> Iterator[Supervisors]:
    here = Supervisors()
    yield here
    here.end()


def part(name: str, state: str, **more: Any) -> dict[str, Any]:
    role = name.rpartition("-")[0] or name
    return {
        "name": name,
        "role": role,
        "index": 0,
        "pid": 1,
        "state": state,
        "since": time.time() - 5,
        "restarts": 0,
        "address": "127.0.0.1:1",
        "log": f"logs/{name}.log",
        "error": None,
        **more,
    }


def write_run(job: str, pid: int, state: str = "running", number: int = 1, **more: Any) -> Path:
    run = Path("runs") / f"{job}-{number}"
    run.mkdir(parents=True)
    now_s = time.time()
    roles = {
        "job": job,
        "pid": pid,
        "state": state,
        "started": now_s,
        "updated": now_s,
        "error": None,
        "parts": [part("ps-0", "ready")],
        **more,
    }
    (run / "roles.json").write_text(json.dumps(roles))
    link = Path("runs") / f"{job}-latest"
    link.unlink(missing_ok=True)
    link.symlink_to(run.name)
    return run.resolve()


def test_status_of_a_run_where_all_is_well(supervisors: Supervisors) -> None:
    run = write_run("demo", supervisors.start().pid)
    status, output = invoke("status")
    assert status == 0
    assert re.fullmatch(rf"demo: running for \d+ s  \({run}\)", output.splitlines()[0])
    assert "ps-0            ready" in output


def test_status_leads_with_what_is_wrong(supervisors: Supervisors) -> None:
    parts = [
        part("ps-0", "ready"),
        part("trainer-0", "restarting", error="No space left on device", restarts=2),
    ]
    write_run("demo", supervisors.start().pid, parts=parts)
    status, output = invoke("status")
    assert status == 1
    assert output.splitlines()[0] == "✗ trainer-0 is restarting: No space left on device"
    assert "restarted 2×" in output


def test_status_leads_with_what_is_waited_for(supervisors: Supervisors) -> None:
    write_run(
        "demo",
        supervisors.start().pid,
        "starting",
        parts=[part("joiner", "starting"), part("traffic", "waiting")],
    )
    status, output = invoke("status")
    assert status == 0
    assert output.startswith("… waiting for joiner (starting), traffic (waiting)\ndemo: starting since ")


def test_status_of_a_failed_run_is_its_error(supervisors: Supervisors) -> None:
    write_run("demo", supervisors.start().pid, "failed", error="ps-0 died: bad alloc")
    status, output = invoke("status")
    assert status == 1
    assert output.startswith("✗ ps-0 died: bad alloc\ndemo: failed after 0 s")


def test_status_of_a_stopped_run_is_no_trouble() -> None:
    write_run("demo", 0, "stopped", started=time.time() - 300, updated=time.time() - 180)
    status, output = invoke("status")
    assert status == 0
    assert output.startswith("demo: stopped after 2 min, 3 min ago")


def test_status_notices_that_the_supervisor_was_killed(supervisors: Supervisors) -> None:
    process = supervisors.start()
    write_run("demo", process.pid)
    process.kill()
    process.wait()
    status, output = invoke("status", "--json")
    told = json.loads(output)
    assert (status, told["state"]) == (1, "lost")
    assert f"its supervisor (process {process.pid}) is gone" in told["wrong"][0]


def test_status_notices_a_supervisor_that_hangs(supervisors: Supervisors) -> None:
    write_run("demo", supervisors.start().pid, updated=time.time() - 20)
    status, output = invoke("status")
    assert status == 1
    assert output.startswith("✗ its supervisor has said nothing for 20 s")


def test_status_asks_the_parts_themselves(supervisors: Supervisors) -> None:
    run = write_run("demo", supervisors.start().pid)
    (run / "job.yaml").write_text(DEMO.read_text())
    told = json.loads(invoke("status", "--json")[1])
    assert told["observation"]["events_per_s"].keys() >= {"asked", "learnt"}
    text = invoke("status")[1]
    assert "freshness   p50 –" in text
    assert "joiner      waiting – (–) · event time – behind · checkpoint –, –" in text
    assert "joins       matched – · negative – · late – · orphan – · malformed –" in text


def test_runs_are_found_by_job_directory_and_age(supervisors: Supervisors) -> None:
    pid = supervisors.start().pid
    old = write_run("films", pid, started=time.time() - 1)
    new = write_run("demo", pid)
    for arguments, run in (
        *(([], new), (["films"], old), (["films-1"], old), ([str(old)], old), (["runs/films-latest"], old)),
    ):
        assert json.loads(invoke("status", *arguments, "--json")[1])["run"] == str(run)


def test_a_run_that_does_not_exist_is_bad_input() -> None:
    assert invoke("status")[0] == 2
    assert "start one with `freshet run jobs/demo.yaml`" in invoke("stop")[1]
    run = write_run("demo", 0, "stopped")
    status, output = invoke("stop", "dmo")
    assert (status, output) == (2, "Error: there is no run 'dmo'; runs here: demo.\n")
    (run / "roles.json").write_text("[")
    assert invoke("status")[0] == 2
    (run / "roles.json").write_text("[]")
    assert invoke("status", "demo")[0] == 2


def test_stop_ends_the_supervisor_and_waits_for_it(supervisors: Supervisors) -> None:
    process = supervisors.start()
    run = write_run("demo", process.pid)
    status, output = invoke("stop")
    assert (status, output) == (0, f"demo: stopped ({run})\n")
    assert process.poll() is not None or process.wait(1) < 0


def test_stop_says_when_nothing_was_running() -> None:
    run = write_run("demo", 0, "stopped")
    status, output = invoke("stop", "--json")
    assert status == 0
    assert json.loads(output) == {"run": str(run), "job": "demo", "was_running": False}


def test_stop_leaves_a_process_alone_that_only_has_the_same_number(supervisors: Supervisors) -> None:
    process = supervisors.start()
    write_run("demo", process.pid, started=time.time() - 3600)
    assert invoke("stop", "--json")[0] == 0
    assert process.poll() is None
    assert json.loads(invoke("status", "--json")[1])["state"] == "lost"


def test_stop_says_when_the_run_does_not_end(supervisors: Supervisors) -> None:
    process = supervisors.start(STUBBORN)
    write_run("demo", process.pid)
    status, output = invoke("stop", "--timeout", "0.2")
    assert status == 1
    assert f"demo (process {process.pid}) still runs after 0.2 s" in output


def test_a_run_of_this_very_process_is_alive() -> None:
    write_run("demo", os.getpid())
    assert json.loads(invoke("status", "--json")[1])["state"] == "running"
