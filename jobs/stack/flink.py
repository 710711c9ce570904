"""A standalone Flink cluster from the wheel, and our jobs on it, or on a cluster of the user's own."""

import os
import re
import sys
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from jobs.archive import holds_archive
from jobs.errors import JobError
from jobs.spec import Job
from jobs.stack.broker import jars
from jobs.stack.file_systems import link_plugins
from jobs.stack.layout import PROJECT, RunDirectory
from jobs.stack.rest import FlinkRest, FlinkUnreachableError
from jobs.stack.stopping import Stopping
from pipelines.settings import joiner_name
from pipelines.variables import escaped

_ANEW = {
    "joiner": "joiner would join everything again. Name one with --set joiner.restore_from=PATH.",
    "archive": "archive would write everything again. Name another joiner.archive.path, without --resume.",
}


class Flink:
    """The commands of one run: JobManager, TaskManagers, submission.

    `is_archive`: of the archive instead of the joiner; then `job` is one of `archive_job`.
    """

    def __init__(self, job: Job, run: RunDirectory, *, is_archive: bool = False) -> None:
        self._job, self._run, self._is_archive = job, run, is_archive
        self.name = joiner_name(job.name, job.joiner)
        self._folder = run.flink / "archive" if is_archive else run.flink
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
        """Lay out what the cluster's processes load; raises JobError where Flink's scripts can't work."""
        if re.search(r"\s", str(self._run.path)):
            raise JobError(
                f"{self._run.path}: Flink's scripts take no path with a space in it; name another with "
                "--run-dir.",
                exit_status=2,
            )
        library = self._run.scratch / "flink-lib"
        library.mkdir(exist_ok=True)
        flink_python = self._home.glob("opt/flink-python-*.jar")
        for jar in (*self._home.glob("lib/*.jar"), *flink_python, *jars("connector").glob("*.jar")):
            link = library / jar.name
            link.unlink(missing_ok=True)
            link.symlink_to(jar)
        link_plugins(self._run.scratch / "flink-plugins", self._home)

    @property
    def env(self) -> dict[str, str]:
        """The environment of every Flink process."""
        scratch = str(self._run.scratch)
        return {
            "FLINK_HOME": str(self._home),
            **self.client_env,
            "FLINK_PLUGINS_DIR": f"{scratch}/flink-plugins",
            "FLINK_LOG_DIR": scratch,
            "FLINK_PID_DIR": scratch,
            # Python finds itself by PATH in a TaskManager; both leave files in the temporary directory.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "TMPDIR": scratch,
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={scratch} -XX:-UsePerfData",
        }

    @property
    def client_env(self) -> dict[str, str]:
        """The part of it without which `flink run` does not work."""
        library = str(self._run.scratch / "flink-lib")
        return {"FLINK_CONF_DIR": str(PROJECT / "flink-conf"), "FLINK_LIB_DIR": library}

    def _options(self) -> dict[str, object]:
        host, _, port = self.address.rpartition(":")
        return {
            "rest.address": host,
            "rest.port": port,
            "io.tmp.dirs": self._run.scratch,
            **state_options(self._own_state_url),
            "python.executable": sys.executable,
            "python.client.executable": sys.executable,
            **self._job.joiner.flink_options,
        }

    @property
    def _own_state_url(self) -> str:
        """Where the embedded cluster keeps the state of this run, and of no other."""
        url = self._job.joiner.state_url
        return f"{url}/{self._run.state_id()}" if url else f"file://{self._folder}"

    def _client_options(self) -> dict[str, object]:
        """On a cluster of the user's own, which has its own configuration."""
        state_url = self._job.joiner.state_url
        return {
            **(state_options(state_url) if state_url else {}),
            "python.client.executable": sys.executable,
            **self._job.joiner.flink_options,
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
        """The `flink run` command for the job; with `resume` it goes on from the newest checkpoint.

        On a cluster of the user's own the job may have gone on by itself, and a backfill may be through: then
        there is nothing to submit.
        Raises JobError when it runs without `resume`, or when `resume` finds nothing to go on from: started
        anew, it would join or archive everything a second time. This run's own cluster may have come to no
        checkpoint yet.
        """
        if not is_embedded and self.running_job(resume=resume):
            return ["true"]
        if not resume:
            self._finished.unlink(missing_ok=True)
        elif self._finished.exists():
            return ["true"]
        if self._is_archive and not (resume or self._job.joiner.restore_from):
            self._refuse_second_archive()
        if resume and not is_embedded:
            return self.run_command(self._restore_point(), is_embedded=False)
        return self.run_command(self._job.joiner.restore_from, is_embedded=is_embedded, resume=resume)

    def run_command(self, restore_from: str | None, *, is_embedded: bool, resume: bool = False) -> list[str]:
        """`flink run …`, whose files are written; the cluster is not asked.

        With `resume` whatever stands in the state's directories goes before `restore_from`.
        """
        self._folder.mkdir(exist_ok=True)
        package, settings = self._folder / "pipelines.zip", self._folder / "job.json"
        _pack(package)
        job = escaped(self._job.model_dump(mode="json", by_alias=True))
        self._run.write_private(settings, orjson.dumps(job).decode())
        options = self._options() if is_embedded else self._client_options()
        dynamic = [f"-D{name}={value}" for name, value in options.items()]
        restore = ["-s", restore_from] if restore_from else []
        script = ["-py", str(PROJECT / "pipelines" / "main.py"), "--pyFiles", str(package)]
        flink = [str(self._home / "bin" / "flink"), "run", "-d", "-m", self.address]
        which = ["--archive"] if self._is_archive else []
        which += ["--resume"] if resume else []
        which += self._jars(is_embedded)
        return [*flink, *restore, *dynamic, *script, "--settings", str(settings), *which]

    def _refuse_second_archive(self) -> None:
        """Raise JobError when there is one already, as far as this machine can see."""
        archive = self._job.joiner.archive
        url = archive.path if archive and archive.path else ""
        if (is_there := holds_archive(url)) is None:
            print(f"joiner.archive.path: whether {url} is empty, this machine can't tell.", file=sys.stderr)
        if is_there:
            raise JobError(
                f"joiner.archive.path: {url} holds an archive already, and examples would stand in it twice; "
                "go on with it (`freshet submit --archive-from-savepoint PATH`, `freshet run --resume`), or "
                "name another place."
            )

    def _jars(self, is_embedded: bool) -> list[str]:
        """What the job takes along; the embedded cluster has the connector."""
        joiner = self._job.joiner
        own = "archive" if self._is_archive else joiner.engine
        folders = [jars("joiner" if own == "jvm" else own)] if own != "python" else []
        if own == "jvm" and joiner.input is not None and joiner.input.format == "parquet":
            # What writes Parquet reads it, too.
            folders.append(jars("archive"))
        folders += [] if is_embedded else [jars("connector")]
        along = [str(jar) for folder in folders for jar in sorted(folder.glob("*.jar"))]
        return ["--jars", *along] if along else []

    def running_job(self, *, resume: bool) -> dict[str, Any] | None:
        """The job of this name that the cluster runs; raises JobError unless it may, or for no answer."""
        try:
            live = self.rest.live_job(self.name)
        except FlinkUnreachableError as error:
            raise JobError(f"joiner.flink_address: Flink does not answer: {error}.") from error
        if live is not None and not resume:
            raise JobError(
                f"Flink at {self.address} runs a job {self.name!r} already ({live['jid']}); "
                f"stop it (`freshet stop JOB.yaml --flink-master {self.address}`), go on with it by "
                "--resume, or give this one another name."
            )
        return live

    def _restore_point(self) -> str:
        """Where to go on on a cluster of the user's own."""
        # What the job began with comes last: gone back to, everything since would be joined again.
        known = self.newest_of_cluster() or self._job.joiner.restore_from
        if known is None:
            raise JobError(
                f"Flink at {self.address} knows no checkpoint of {self.name!r}; without one the "
                + _ANEW["archive" if self._is_archive else "joiner"]
            )
        return known

    def newest_of_cluster(self) -> str | None:
        """What the cluster says; what it said last when it has lost its memory.

        Raises JobError when it does not answer: to take that for "none" would join everything again.
        """
        try:
            found = self.rest.newest_checkpoint(self.name)
        except (FlinkUnreachableError, KeyError) as error:
            raise JobError(f"joiner.flink_address: Flink does not answer: {error}.") from error
        if found is None and self._remembered.exists():
            found = self._remembered.read_text()
        return found

    def remember_checkpoint(self) -> None:
        """Keep where the cluster's newest checkpoint is. Raises FlinkUnreachableError."""
        if (newest := self.rest.newest_checkpoint(self.name)) is not None:
            self._run.write_private(self._remembered, newest)

    @property
    def _remembered(self) -> Path:
        return self._folder / "newest-checkpoint"

    def has_finished(self) -> bool:
        """Whether the job is a backfill that is through, in this run. Raises FlinkUnreachableError."""
        if self._job.joiner.input is None:
            return False
        if not self._finished.exists():
            newest = self.rest.newest_job(self.name)
            if newest is None or not self.rest.has_finished(newest):
                return False
            # Its checkpoints are gone: resumed, it would join everything again.
            self._run.write_private(self._finished, newest["jid"])
        return True

    @property
    def _finished(self) -> Path:
        return self._folder / "finished"

    def begin_stop(self, *, is_embedded: bool) -> Stopping | None:
        """Have this run's job stopped with a savepoint; None when it does not run. Raises as `Stopping`."""
        if (live := self.rest.live_job(self.name)) is None:
            return None
        state_url = self._own_state_url if is_embedded else self._job.joiner.state_url
        # An archive that waits for more files of an hour writes those that it has.
        return Stopping(self.rest, live["jid"], state_url, drain=self._is_archive)

    def keep_savepoint(self, path: str) -> None:
        """Keep where the job ended, for `resume`."""
        self._run.write_private(self._remembered, path)

    def cancel(self) -> None:
        """Cancel this run's job, if it runs; what goes wrong is left to those who stop the cluster."""
        try:
            if (live := self.rest.live_job(self.name)) is not None:
                self.rest.cancel(live["jid"])
        except FlinkUnreachableError:
            return


def state_options(url: str) -> dict[str, object]:
    """Flink's configuration for checkpoints and savepoints below `url`."""
    return {
        "execution.checkpointing.dir": f"{url}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{url}/savepoints",
    }


def _reporter(address: str) -> dict[str, object]:
    return {"metrics.reporter.prom.port": address.rpartition(":")[2]}


def _pack(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as package:
        for kind in ("*.py", "*.yaml"):
            for file in sorted((PROJECT / "pipelines").rglob(kind)):
                package.write(file, file.relative_to(PROJECT))
