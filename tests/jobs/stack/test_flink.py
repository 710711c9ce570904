"""What is submitted to a Flink cluster of the user's own, which is played by a small server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import JobError
from jobs.load import load_job
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory

DEMO = Path(__file__).parents[3] / "jobs" / "demo.yaml"
CHECKPOINT = {"external_path": "file:/flink/chk-7", "trigger_timestamp": 7}
SAVEPOINT = {"external_path": "file:/flink/savepoint-8", "trigger_timestamp": 8}
RESTORED = {"external_path": "file:/flink/chk-1"}


class Cluster:
    """A cluster with at most one job."""

    def __init__(self) -> None:
        self.state: str | None = None
        self.latest: dict[str, Any] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(pages(self.path)).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def pages(self, path: str) -> dict[str, Any]:
        if path == "/jobs/overview":
            job = {"jid": "ab", "name": "demo", "state": self.state, "start-time": 1}
            return {"jobs": [job] if self.state else []}
        return {"latest": {"completed": None, "savepoint": None, "restored": None, **self.latest}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def flink(cluster: Cluster, tmp_path: Path) -> Flink:
    run = RunDirectory(tmp_path)
    run.create()
    return Flink(load_job(DEMO, [f"joiner.flink_address={cluster.address}"]), run)


def restored_from(command: list[str]) -> str | None:
    return command[command.index("-s") + 1] if "-s" in command else None


def test_a_job_that_is_new_starts_from_nothing(flink: Flink) -> None:
    command = flink.submission(is_embedded=False, resume=False)
    assert "run" in command
    assert restored_from(command) is None


@pytest.mark.parametrize(
    ("latest", "path"),
    [
        ({"completed": CHECKPOINT, "restored": RESTORED}, "file:/flink/chk-7"),
        ({"completed": CHECKPOINT, "savepoint": SAVEPOINT}, "file:/flink/savepoint-8"),
        ({"restored": RESTORED}, "file:/flink/chk-1"),
    ],
)
def test_a_resumed_job_goes_on_from_the_newest_that_the_cluster_knows(
    cluster: Cluster, flink: Flink, latest: dict[str, Any], path: str
) -> None:
    cluster.state, cluster.latest = "FINISHED", latest
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == path


def test_what_a_cluster_has_forgotten_was_remembered(cluster: Cluster, flink: Flink) -> None:
    cluster.state, cluster.latest = "RUNNING", {"completed": CHECKPOINT}
    flink.remember_checkpoint()
    cluster.state = None
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-7"


def test_a_resumed_job_does_not_go_back_to_what_it_once_began_with(cluster: Cluster, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create()
    overrides = [f"joiner.flink_address={cluster.address}", "joiner.restore_from=file:/flink/chk-1"]
    flink = Flink(load_job(DEMO, overrides), run)
    assert restored_from(flink.submission(is_embedded=False, resume=False)) == "file:/flink/chk-1"
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-1"
    cluster.state, cluster.latest = "FAILED", {"completed": CHECKPOINT}
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-7"


def test_nothing_to_go_on_from_is_refused_rather_than_joined_twice(flink: Flink) -> None:
    with pytest.raises(JobError, match=r"--set joiner\.restore_from=PATH"):
        flink.submission(is_embedded=False, resume=True)


def test_a_job_that_runs_is_not_submitted_a_second_time(cluster: Cluster, flink: Flink) -> None:
    cluster.state = "RUNNING"
    with pytest.raises(JobError, match="runs a job 'demo' already"):
        flink.submission(is_embedded=False, resume=False)
    assert flink.submission(is_embedded=False, resume=True) == ["true"]


def test_a_proxy_of_the_environment_is_not_asked(flink: Flink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert flink.rest.get("/jobs/overview") == {"jobs": []}
