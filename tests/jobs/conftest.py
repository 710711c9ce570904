"""A pretended running job: every endpoint an observer asks, on one real HTTP server."""

import http.server
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from jobs import submit
from jobs.spec import Job
from tests.jobs.pretended_flink import Cluster
from tests.jobs.topics import Topics


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """A broker inside the Kafka client library: real sockets, no Java."""
    broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (address,) = (f"{each.host}:{each.port}" for each in broker.list_topics(timeout=10).brokers.values())
    yield address
    del broker


@pytest.fixture
def topics(bootstrap: str) -> Topics:
    """They exist, and no other test uses them."""
    return Topics(bootstrap)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64


class PretendedJob:
    """What the endpoints say can be changed at any time: `counts` and `pages`."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.reset()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        """As at the start, with empty logs."""
        shutil.rmtree(self.run_dir)
        (self.run_dir / "logs").mkdir(parents=True)
        stages = ("asked", "read", "joined", "learnt", "published", "served")
        self.counts = dict.fromkeys((*stages, "malformed"), 0)
        self.auc = {"served": 0.71, "frozen": 0.62, "best": 0.79, "fresh": 0.72}
        self.rmse: dict[str, float] = {}
        """Of `click` as well, for a job whose label is a number."""
        self.last_minute: dict[str, Any] = {"count": 9, "p50_ms": 1400.0, "p99_ms": 2900.0}
        self.checkpoints: dict[str, Any] = {"latest": {"failed": None, "completed": None}}
        self.flink_state = "RUNNING"
        self.join: list[dict[str, float]] = []
        """More metrics of the operator `join`, by subtask."""
        self.trainer_lag_s = 0.9
        self.updates: dict[str, Any] = {"lag_s": 0.2, "caught_up": True, "last_error": None}
        """Of the replica's status."""
        self.silent: set[str] = set()
        """Paths that are not answered."""
        self.broken: set[str] = set()
        """Paths that are answered with rubbish."""

    def job(self, **blocks: Any) -> Job:
        """Every part behind a path of its own: `HOST:PORT/NAME` works as an address."""
        address = self.address
        return Job.model_validate(
            {
                "name": "demo",
                "schema": {
                    "features": {"user_id": {"from": "user.user_id"}},
                    "labels": {"click": {"action": "click", "window_s": 10}},
                },
                "ps": {"metrics_addresses": [f"{address}/ps-0", f"{address}/ps-1"]},
                "trainer": {"metrics_addresses": [f"{address}/trainer-0"]},
                "serving": {"addresses": [f"{address}/replica-0"]},
                "joiner": {
                    "flink_address": f"{address}/flink",
                    "metrics_addresses": [f"{address}/taskmanager-0"],
                },
                "traffic": {"kind": "simulated", "metrics_address": f"{address}/traffic"},
                **blocks,
            }
        )

    def job_of_a_number(self, **blocks: Any) -> Job:
        """The same, but its label is a number; see `rmse`."""
        job = self.job(**blocks).model_dump(by_alias=True, exclude_unset=True)
        job["schema"]["labels"]["click"]["kind"] = "number"
        return Job.model_validate(job)

    def move(self, count: int = 10, stages: tuple[str, ...] = ()) -> None:
        """`stages`, or all of them, have done `count` more."""
        for stage in stages or set(self.counts) - {"malformed"}:
            self.counts[stage] += count

    def write_roles(
        self, state: str = "running", updated: float | None = None, **changed: dict[str, Any]
    ) -> None:
        """RUN/roles.json, never old by accident. `changed` by part, with _ for -."""
        names = {"broker": "broker", "joiner": "joiner", "ps-0": "ps", "ps-1": "ps", "trainer-0": "trainer"}
        names |= {"replica-0": "replica", "traffic": "traffic"}
        now = time.time()
        parts = [
            {
                "name": name,
                "role": role,
                "index": int(name[-1]) if name[-1].isdigit() else 0,
                "pid": 1,
                "state": "ready",
                "since": now - 100,
                "restarts": 0,
                "address": f"{self.address}/{name}",
                "log": f"logs/{name}.log",
                "error": None,
                **changed.get(name.replace("-", "_"), {}),
            }
            for name, role in names.items()
        ]
        told = {"job": "demo", "pid": 1, "state": state, "started": now - 100, "error": None, "parts": parts}
        self._replace("roles.json", {**told, "updated": updated or now + 600})

    def write_traffic(self, **changed: Any) -> None:
        """RUN/traffic.json."""
        now = time.time()
        told = {"requests": 5, "impressions": 40, "actions": 3, "last_error": None, "done": False}
        self._replace("traffic.json", {**told, "started": now - 100, "updated": now, **changed})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, path: str) -> str:
        """What stands at `path`."""
        counts = self.counts
        labels = 'operator_name="Source: features",subtask_index="0",'
        scope = "flink_taskmanager_job_task_operator_"
        pages = {
            "/traffic/metrics": f"freshet_traffic_impressions_total {counts['asked']}\n"
            f"freshet_traffic_actions_total {counts['asked'] // 10}\n",
            "/taskmanager-0/metrics": f"{scope}freshet_joiner_examples{{{labels}}} {counts['joined']}\n"
            f"{scope}freshet_joiner_impressions{{{labels}}} {counts['read']}\n"
            f"{scope}freshet_joiner_positives{{{labels}}} {counts['joined'] // 5}\n"
            f"{scope}freshet_joiner_negatives{{{labels}}} {counts['joined'] - counts['joined'] // 5}\n"
            f"{scope}freshet_joiner_late{{{labels}}} 2\n"
            f"{scope}freshet_joiner_malformed{{{labels}}} {counts['malformed']}\n"
            f"{scope}numRecordsIn{{{labels}}} {counts['read']}\n"
            f"{scope}pendingRecords{{{labels}}} 0\n"
            + "".join(
                f'{scope}{name}{{operator_name="join",subtask_index="{subtask}",}} {value}\n'
                for subtask, told in enumerate(self.join)
                for name, value in told.items()
            ),
            "/trainer-0/metrics": f"freshet_trainer_examples_total {counts['learnt']}\n"
            + f"freshet_trainer_lag_seconds {self.trainer_lag_s}\n"
            + "".join(f'freshet_trainer_auc{{label="click",of="{of}"}} {v}\n' for of, v in self.auc.items())
            + "".join(
                f'freshet_trainer_rmse{{label="click",of="{of}"}} {v}\n' for of, v in self.rmse.items()
            ),
            "/replica-0/metrics": f"freshet_replica_items_total {counts['served']}\n",
            "/replica-0/v1/status": json.dumps(
                {"freshness": {"last_minute": self.last_minute}, "updates": self.updates, "waiting_for": []}
            ),
            "/flink/jobs/overview": json.dumps(
                {"jobs": [{"jid": "ab", "name": "demo", "start-time": 5, "state": self.flink_state}]}
            ),
            "/flink/jobs/ab/checkpoints": json.dumps(self.checkpoints),
        }
        for i in range(2):
            pages[f"/ps-{i}/metrics"] = (
                f'freshet_ps_rows{{table="user"}} {counts["learnt"] + 100 + i}\n'
                'freshet_ps_rows{table="item"} 50\n'
                f'freshet_ps_memory_bytes{{table="user"}} {1 << 20}\nfreshet_ps_lookup_p99_seconds 0.0025\n'
                f"freshet_ps_published_rows_total {counts['published']}\nfreshet_ps_publish_lag_seconds 0.4\n"
            )
        return pages[path]

    def _replace(self, name: str, value: dict[str, Any]) -> None:
        partial = self.run_dir / f"{name}.partial"
        partial.write_text(json.dumps(value))
        partial.replace(self.run_dir / name)

    def _handler(pretended) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path in pretended.silent:
                    return
                try:
                    body = "{x 1" if path in pretended.broken else pretended.page(path)
                except KeyError:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def shared_job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretendedJob]:
    job = PretendedJob(tmp_path_factory.mktemp("run"))
    yield job
    job.close()


@pytest.fixture
def pretended(shared_job: PretendedJob) -> PretendedJob:
    """Nothing is wrong with it at first, and its parts are at work."""
    shared_job.reset()
    return shared_job


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A Flink cluster of the user's own, without jobs."""
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def flink_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[list[str]]]:
    """`flink_run(code)`: what would be run is kept, and that Python code is run instead."""
    monkeypatch.chdir(tmp_path)
    commands: list[list[str]] = []

    def play(code: str) -> list[list[str]]:
        def submission(flink: Any, **options: Any) -> list[str]:
            commands.append(real(flink, **options))
            return [sys.executable, "-c", code]

        real = submit.Flink.submission
        monkeypatch.setattr(submit.Flink, "submission", submission)
        for check in ("check_broker", "create_topics"):
            monkeypatch.setattr(submit, check, lambda kafka: None)
        return commands

    return play
