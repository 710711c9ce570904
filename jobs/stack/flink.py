"""A standalone Flink cluster from the wheel, and the joiner on it, or on a cluster of the user's own."""

import os
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from jobs.errors import JobError
from jobs.spec import Job
from jobs.stack.broker import jars
from jobs.stack.layout import PROJECT, RunDirectory

_TIMEOUT_S = 2.0
_LIVE_STATES = frozenset({"INITIALIZING", "CREATED", "RUNNING", "FAILING", "RESTARTING", "RECONCILING"})


class FlinkUnreachableError(Exception):
    """The cluster's REST endpoint does not answer, or not with what was asked for."""


class FlinkRest:
    """What a cluster says of itself; every call raises FlinkUnreachableError."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(urllib.request.Request(self._url + path))

    def cancel(self, job_id: str) -> None:
        """Have the job cancelled."""
        self._ask(urllib.request.Request(f"{self._url}/jobs/{job_id}?mode=cancel", method="PATCH"))

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return orjson.loads(answer.read())
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise FlinkUnreachableError(f"{request.full_url}: {error}") from error

    def live_job(self, name: str) -> dict[str, Any] | None:
        """The newest job called `name` that has not ended: `jid`, `state`, …"""
        jobs = [job for job in self.get("/jobs/overview")["jobs"] if job["name"] == name]
        live = [job for job in jobs if job["state"] in _LIVE_STATES]
        return max(live, key=lambda job: int(job["start-time"]), default=None)

    def root_cause(self, job_id: str) -> str | None:
        """The last exception of a job, its last `Caused by` line first; None: there was none."""
        history = self.get(f"/jobs/{job_id}/exceptions?maxExceptions=1").get("exceptionHistory", {})
        entries = history.get("entries", [])
        return _innermost(entries[0]["stacktrace"]) if entries else None


def _innermost(stacktrace: str) -> str:
    lines = stacktrace.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines)[-1 if causes else 0]


class Flink:
    """The commands of one run: JobManager, TaskManagers, submission."""

    def __init__(self, job: Job, run: RunDirectory) -> None:
        self._job, self._run = job, run
        address = job.joiner.flink_address
        assert address is not None
        self.address, self.rest = address, FlinkRest(address)

    @cached_property
    def _home(self) -> Path:
        # The package itself is not imported: that takes seconds.
        import importlib.util

        spec = importlib.util.find_spec("pyflink")
        if spec is None or spec.origin is None:
            raise JobError("apache-flink is not installed; run `make setup`.")
        return Path(spec.origin).parent

    def prepare(self) -> None:
        """Lay out what the cluster's processes load."""
        library = self._run.scratch / "flink-lib"
        library.mkdir(exist_ok=True)
        flink_python = self._home.glob("opt/flink-python-*.jar")
        for jar in (*self._home.glob("lib/*.jar"), *flink_python, *jars("connector").glob("*.jar")):
            link = library / jar.name
            link.unlink(missing_ok=True)
            link.symlink_to(jar)

    @property
    def env(self) -> dict[str, str]:
        """The environment of every Flink process."""
        scratch = str(self._run.scratch)
        return {
            "FLINK_HOME": str(self._home),
            "FLINK_CONF_DIR": str(PROJECT / "flink-conf"),
            "FLINK_LIB_DIR": str(self._run.scratch / "flink-lib"),
            "FLINK_LOG_DIR": scratch,
            "FLINK_PID_DIR": scratch,
            # Python finds itself by PATH in a TaskManager; both leave files in the temporary directory.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "TMPDIR": scratch,
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch} -XX:-UsePerfData",
        }

    def _options(self) -> dict[str, object]:
        host, _, port = self.address.rpartition(":")
        return {
            "rest.address": host,
            "rest.port": port,
            "io.tmp.dirs": self._run.scratch,
            "execution.checkpointing.dir": f"file://{self._run.flink}/checkpoints",
            "execution.checkpointing.savepoint-dir": f"file://{self._run.flink}/savepoints",
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
        }

    def job_manager(self, rpc_port: int, blob_port: int, metrics_address: str) -> list[str]:
        """What starts the JobManager in the foreground."""
        port = self.address.rpartition(":")[2]
        options = {"rest.bind-port": port, "jobmanager.rpc.port": rpc_port, "blob.server.port": blob_port}
        return self._process("jobmanager", {**options, **_reporter(metrics_address)})

    def task_manager(self, rpc_port: int, metrics_address: str) -> list[str]:
        """What starts a TaskManager in the foreground."""
        return self._process("taskmanager", {"jobmanager.rpc.port": rpc_port, **_reporter(metrics_address)})

    def _process(self, role: str, more: Mapping[str, object]) -> list[str]:
        options = {**self._options(), **more}
        dynamic = [part for name, value in options.items() for part in ("-D", f"{name}={value}")]
        return [str(self._home / "bin" / f"{role}.sh"), "start-foreground", *dynamic]

    def submission(self, *, is_embedded: bool, resume: bool) -> list[str]:
        """The `flink run` command for the joiner; with `resume` it goes on from the newest checkpoint."""
        archive, settings = self._run.flink / "pipelines.zip", self._run.flink / "job.json"
        _pack(archive)
        self._run.write_private(settings, self._job.model_dump_json(by_alias=True))
        options = self._options() if is_embedded else {"python.client.executable": sys.executable}
        dynamic = [f"-D{name}={value}" for name, value in options.items()]
        newest = self.newest_checkpoint() if resume else None
        restore = ["-s", str(newest)] if newest else []
        script = ["-py", str(PROJECT / "pipelines" / "main.py"), "--pyFiles", str(archive)]
        flink = [str(self._home / "bin" / "flink"), "run", "-d", "-m", self.address]
        return [*flink, *restore, *dynamic, *script, "--settings", str(settings)]

    def newest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint or savepoint of this run."""
        whole = [*self._run.flink.glob("checkpoints/*/chk-*/_metadata")]
        whole += self._run.flink.glob("savepoints/*/_metadata")
        return max(whole, key=lambda file: file.stat().st_mtime_ns).parent if whole else None

    def cancel(self) -> None:
        """Cancel this run's job, if it runs; what goes wrong is left to those who stop the cluster."""
        try:
            if (live := self.rest.live_job(self._job.name)) is not None:
                self.rest.cancel(live["jid"])
        except FlinkUnreachableError:
            return


def _reporter(address: str) -> dict[str, object]:
    return {"metrics.reporter.prom.port": address.rpartition(":")[2]}


def _pack(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as package:
        for file in sorted((PROJECT / "pipelines").rglob("*.py")):
            package.write(file, file.relative_to(PROJECT))
