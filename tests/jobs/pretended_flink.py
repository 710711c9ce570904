"""A Flink cluster of the user's own, played by a small server: one job after another of one name."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RefusedError(Exception):
    """Answered with status 400 and this, as Flink does."""


class Cluster:
    """Its jobs, the oldest first, and what it has been told to do."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.checkpoints: dict[str, dict[str, Any]] = {}
        self._told_later: dict[str, dict[str, Any]] = {}
        self.exception: str | None = None
        self.savepoint: dict[str, Any] | None = {"location": "file:/flink/savepoint-9"}
        """The end of a savepoint that is asked for; None: it never ends."""
        self.refuses_to_stop: str | None = None
        self.told: list[tuple[str, str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def add(self, state: str, running: int = 3, name: str = "demo", **latest: Any) -> str:
        """A job with its newest checkpoints; its id."""
        job_id = f"{len(self.jobs) + 1:032x}"
        tasks = {"running": running, "total": 3}
        self.jobs.append(
            {"jid": job_id, "name": name, "state": state, "start-time": len(self.jobs), "tasks": tasks}
        )
        self.checkpoints[job_id] = {"completed": None, "savepoint": None, "restored": None, **latest}
        return job_id

    def answer(self, method: str, path: str, body: Any) -> Any:
        """As the REST endpoint."""
        if method != "GET":
            self.told.append((method, path, body))
        match [method, *path.split("?")[0].strip("/").split("/")]:
            case ["GET", "jobs", "overview"]:
                return {"jobs": self.jobs}
            case ["GET", "overview"]:
                return {"slots-available": 1}
            case ["GET", "jobs", job_id, "checkpoints"] if job_id not in self.checkpoints:
                raise RefusedError(f"Job {job_id} not found")
            case ["GET", "jobs", job_id, "checkpoints"]:
                latest = self.checkpoints[job_id]
                self.checkpoints[job_id] = latest | self._told_later.pop(job_id, {})
                return {"latest": latest}
            case ["GET", "jobs", _, "exceptions"]:
                entries = [{"stacktrace": self.exception}] if self.exception else []
                return {"exceptionHistory": {"entries": entries}}
            case ["POST", "jobs", job_id, "stop"]:
                if self.refuses_to_stop:
                    raise RefusedError(self.refuses_to_stop)
                if self.savepoint and "location" in self.savepoint:
                    self._end(job_id, "FINISHED")
                    savepoint = {"external_path": self.savepoint["location"], "trigger_timestamp": 1 << 60}
                    self._told_later[job_id] = {"savepoint": savepoint}
                return {"request-id": "r"}
            case ["GET", "jobs", _, "savepoints", "r"]:
                done = self.savepoint is not None
                return {"status": {"id": "COMPLETED" if done else "IN_PROGRESS"}, "operation": self.savepoint}
            case ["PATCH", "jobs", job_id]:
                self._end(job_id, "CANCELED")
                return {}
        raise AssertionError(f"{method} {path}")

    def _end(self, job_id: str, state: str) -> None:
        next(job for job in self.jobs if job["jid"] == job_id)["state"] = state

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(cluster) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                try:
                    status, answer = 200, cluster.answer(self.command, self.path, body)
                except RefusedError as refusal:
                    status, answer = 400, {"errors": [str(refusal)]}
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def do_POST(self) -> None:
                self.do_GET()

            def do_PATCH(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
