"""A standalone Flink cluster from the wheel, and the joiner on it, or on a cluster of the user's own."""

import os
import sys
import zipfile
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import Any

import orjson

from jobs.errors import JobError
from jobs.http import ask
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
        return self._ask(path, "GET")

    def cancel(self, job_id: str) -> None:
        """Have the job cancelled."""
        self._ask(f"/jobs/{job_id}?mode=cancel", "PATCH")

    def _ask(self, path: str, method: str) -> Any:
        try:
            return orjson.loads(ask(self._url + path, _TIMEOUT_S, method=method))
        except (OSError, HTTPException, ValueError) as error:
            raise FlinkUnreachableError(f"{self._url}{path}: {error}") from error

    def live_job(self, name: str) -> dict[str, Any] | None:
        """The newest job called `name` that has not ended: `jid`, `state`, …"""
        return max(
            (job for job in self._jobs(name) if job["state"] in _LIVE_STATES), key=_start, default=None
        )

    def newest_checkpoint(self, name: str) -> str | None:
        """The path of the newest checkpoint or savepoint of the newest job called `name`, ended or not."""
        newest = max(self._jobs(name), key=_start, default=None)
        if newest is None:
            return None
        latest = self.get(f"/jobs/{newest['jid']}/checkpoints")["latest"]
        whole = [taken for kind in ("completed", "savepoint") if (taken := latest.get(kind)) is not None]
        # A job that was restored and has taken none of its own has nothing newer than what it began with.
        found = max(whole, key=lambda taken: int(taken["trigger_timestamp"]), default=latest.get("restored"))
        return str(found["external_path"]) if found else None

    def _jobs(self, name: str) -> list[dict[str, Any]]:
        return [job for job in self.get("/jobs/overview")["jobs"] if job["name"] == name]

    def root_cause(self, job_id: str) -> str | None:
        """The last exception of a job, its last `Caused by` line first; None: there was none."""
        history = self.get(f"/jobs/{job_id}/exceptions?maxExceptions=1").get("exceptionHistory", {})
        entries = history.get("entries", [])
        return _innermost(entries[0]["stacktrace"]) if entries else None


def _start(job: Mapping[str, Any]) -> int:
    return int(job["start-time"])


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
        """The `flink run` command for the joiner; with `resume` it goes on from the newest checkpoint.

        On a cluster of the user's own the job may have gone on by itself: then there is nothing to submit.
        Raises JobError when it runs without `resume`, or when `resume` finds nothing to go on from: started
        anew, the joiner would join everything a second time.
        """
        if not is_embedded and self._runs_already(resume):
            return ["true"]
        archive, settings = self._run.flink / "pipelines.zip", self._run.flink / "job.json"
        _pack(archive)
        self._run.write_private(settings, self._job.model_dump_json(by_alias=True))
        options = self._options() if is_embedded else {"python.client.executable": sys.executable}
        dynamic = [f"-D{name}={value}" for name, value in options.items()]
        restore_from = self._restore_point(is_embedded) if resume else self._job.joiner.restore_from
        restore = ["-s", restore_from] if restore_from else []
        script = ["-py", str(PROJECT / "pipelines" / "main.py"), "--pyFiles", str(archive)]
        flink = [str(self._home / "bin" / "flink"), "run", "-d", "-m", self.address]
        return [*flink, *restore, *dynamic, *script, "--settings", str(settings), *self._jars(is_embedded)]

    def _jars(self, is_embedded: bool) -> list[str]:
        """What the job takes along; the embedded cluster has the connector, and `python` needs no more."""
        if self._job.joiner.engine == "python":
            return []
        folders = [jars("joiner")] if is_embedded else [jars("joiner"), jars("connector")]
        return ["--jars", *(str(jar) for folder in folders for jar in sorted(folder.glob("*.jar")))]

    def _runs_already(self, resume: bool) -> bool:
        try:
            live = self.rest.live_job(self._job.name)
        except FlinkUnreachableError as error:
            raise JobError(f"joiner.flink_address: Flink does not answer: {error}.") from error
        if live is not None and not resume:
            raise JobError(
                f"Flink at {self.address} runs a job {self._job.name!r} already ({live['jid']}); "
                "go on with it by --resume, stop it (`flink stop`), or give this one another name."
            )
        return live is not None

    def _restore_point(self, is_embedded: bool) -> str | None:
        """Where to go on: of this run's own cluster perhaps nowhere yet, then everything is read anew."""
        # What the job began with comes last: gone back to, everything since would be joined again.
        began_with = self._job.joiner.restore_from
        if is_embedded:
            newest = self.newest_checkpoint()
            return str(newest) if newest else began_with
        known = self._newest_of_cluster() or began_with
        if known is None:
            raise JobError(
                f"Flink at {self.address} knows no checkpoint of {self._job.name!r}; without one the joiner "
                "would join everything again. Name one with --set joiner.restore_from=PATH."
            )
        return known

    def _newest_of_cluster(self) -> str | None:
        """What the cluster says; what it said last when it has lost its memory."""
        try:
            found = self.rest.newest_checkpoint(self._job.name)
        except (FlinkUnreachableError, KeyError):
            found = None
        if found is None and self._remembered.exists():
            found = self._remembered.read_text()
        return found

    def remember_checkpoint(self) -> None:
        """Keep where the cluster's newest checkpoint is. Raises FlinkUnreachableError."""
        if (newest := self.rest.newest_checkpoint(self._job.name)) is not None:
            self._run.write_private(self._remembered, newest)

    @property
    def _remembered(self) -> Path:
        return self._run.flink / "newest-checkpoint"

    def newest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint or savepoint of this run's own cluster."""
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
        for kind in ("*.py", "*.yaml"):
            for file in sorted((PROJECT / "pipelines").rglob(kind)):
                package.write(file, file.relative_to(PROJECT))
