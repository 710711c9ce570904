"""The joiner and its archive on a Flink cluster of the user's own: submitted, seen to run, and stopped with
savepoints.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jobs.archive import holds_archive
from jobs.backfill import check_examples, with_ends, with_files
from jobs.errors import JobError
from jobs.spec import Job
from jobs.stack.broker import check_broker, create_topics
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory
from jobs.stack.rest import FlinkRest, FlinkUnreachableError, SavepointError, has_ended, is_running
from jobs.stack.stopping import Stopping
from pipelines.settings import joiner_name

RUNNING_S = 120.0
"""A job that does not run after so long has no slots, or no Kafka."""
_LOOK_S = 0.3
_CACHED_S = 10.0
"""Flink tells checkpoints anew every 3 s (`web.refresh-interval`)."""
_FAILING_S = 15.0
"""A job that has thrown an exception and does not run for so long will not, whatever Flink tries again."""
_JOB_ID = re.compile(r"JobID ([0-9a-f]{32})")
_PYTHON_ERROR = re.compile(r"(\w+\.)*\w*(Error|Exit|Exception): ")
_SILENT_CAUSES = ("Python process exits", "ProgramAbortException", "py4j.protocol.Py4JJavaError")
"""What `flink run` says of every failure, whatever the reason."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that a cluster has taken."""

    job_id: str
    url: str
    """Its page in Flink's own web interface."""
    state: str
    is_new: bool
    """False: it ran already, which was all right."""

    def in_words(self, job: Job) -> str:
        """For people."""
        how = "runs" if self.is_new else "goes on"
        if self.state == "SUBMITTED":
            how = "has been submitted"
        return f"{_name(job)} {how} on Flink at {job.joiner.flink_address}: job {self.job_id}\n{self.url}"


def submit(
    job: Job,
    run: RunDirectory,
    *,
    resume: bool,
    wait_s: float | None,
    anew: bool = False,
    is_archive: bool = False,
) -> Submitted:
    """Submit the joiner to `joiner.flink_address`; until it runs, `wait_s` at most. None: don't wait.

    With `resume` it goes on from the newest checkpoint, or is left as it is when it runs. A job that the
    cluster has known before begins from nothing only with `anew`. `is_archive`: `job` is one of
    `jobs.archive.archive_job`. Raises JobError.
    """
    goes_on = resume or job.joiner.restore_from is not None
    if job.joiner.input is not None:
        run.create()
        check_broker(job.kafka)
        create_topics(job.kafka)
        job = with_ends(with_files(job), run, resume=goes_on)
    flink = _flink(job, run, is_archive=is_archive)
    if (live := flink.running_job(resume=resume)) is None:
        if resume and flink.has_finished():
            raise JobError(f"{flink.name!r} is a backfill that has finished: there is nothing to go on with.")
        # What an earlier backfill left is its examples: its checkpoints are gone.
        if not (goes_on or anew or job.joiner.input):
            _check_new(flink)
        check_broker(job.kafka)
        create_topics(job.kafka)
        if not goes_on:
            check_examples(job)
        job_id = _run_flink(flink, run, resume=resume)
    else:
        job_id = str(live["jid"])
    if wait_s is not None:
        _wait_until_running(flink.rest, job_id, wait_s, may_finish=job.joiner.input is not None)
    state = "SUBMITTED" if wait_s is None else "RUNNING"
    return Submitted(job_id, f"{flink.rest.url}/#/job/running/{job_id}/overview", state, live is None)


def submit_archive(job: Job, run: RunDirectory, *, goes_on: bool, wait_s: float | None) -> Submitted:
    """Submit the archive, `job` being one of `jobs.archive.archive_job`, as `submit` does the joiner.

    Unless `joiner.restore_from` says where it begins, it is left as it is when it runs, goes on from its
    newest checkpoint when the cluster has known it before, and begins with the topic when not: wherever the
    joiner begins, all else would leave examples out, or write some twice. `goes_on`: the joiner did not begin
    anew, so the cluster may have forgotten the archive. Raises JobError.
    """
    flink = _flink(job, run, is_archive=True)
    resume = job.joiner.restore_from is None and (
        flink.running_job(resume=True) is not None or flink.newest_of_cluster() is not None
    )
    if goes_on and not resume and job.joiner.restore_from is None:
        _check_no_archive(flink, job)
    return submit(job, run, resume=resume, wait_s=wait_s, is_archive=True)


def _check_no_archive(flink: Flink, job: Job) -> None:
    """What is there is refused later; here also what may be there."""
    archive = job.joiner.archive
    assert archive is not None
    if holds_archive(str(archive.path)) is None:
        raise JobError(
            f"Flink at {flink.address} knows no checkpoint of {flink.name!r}, and whether {archive.path} "
            "holds what it has written, this machine can't tell: begun anew it would write all of it again. "
            "Name its newest checkpoint or savepoint with --archive-from-savepoint PATH, or another, empty "
            "joiner.archive.path, where `freshet run JOB.yaml --role archive` begins it."
        )


def command_line(job: Job, run: RunDirectory, *, is_archive: bool = False) -> str:
    """The `flink run` of a submission, for a shell; what it needs is written into `run`. Nothing is asked."""
    flink = _flink(with_files(job), run, is_archive=is_archive)
    command = flink.run_command(job.joiner.restore_from, is_embedded=False)
    env = " ".join(f"{name}={shlex.quote(value)}" for name, value in flink.client_env.items())
    return f"{env} {shlex.join(command)}"


def stop(job: Job, patience_s: float, *, is_archive: bool = False) -> tuple[str, str]:
    """Stop the job's joiner on its cluster: its id and the path of its savepoint. Raises JobError.

    `is_archive`: `job` is one of `jobs.archive.archive_job`, as for the other functions here.
    """
    rest, job_id = _find(job)
    try:
        # An archive that waits for more files of an hour writes those that it has.
        path = Stopping(rest, job_id, job.joiner.state_url, drain=is_archive).wait(patience_s)
        _wait_until_told(rest, job_id, path)
        return job_id, path
    except (FlinkUnreachableError, SavepointError) as error:
        raise JobError(
            f"{_name(job)!r}: no savepoint: {str(error).rstrip('.')}. See {rest.url}/#/job/running/{job_id}"
            "/checkpoints; --cancel ends the job without one."
        ) from error


def _wait_until_told(rest: FlinkRest, job_id: str, path: str) -> None:
    """Flink answers from a cache: whoever resumed at once would go on from a checkpoint before `path`."""
    deadline_s = time.monotonic() + _CACHED_S
    with suppress(FlinkUnreachableError):  # a cluster that ended with its job
        while rest.newest_of(job_id) != path and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)


def cancel(job: Job) -> tuple[str, str | None]:
    """End the job's joiner on its cluster at once: its id, and its newest checkpoint. Raises JobError."""
    rest, job_id = _find(job)
    try:
        newest = rest.newest_checkpoint(_name(job))
        rest.cancel(job_id)
    except FlinkUnreachableError as error:
        raise JobError(f"Flink does not cancel {_name(job)!r}: {error}.") from error
    return job_id, newest


def running(job: Job) -> dict[str, Any]:
    """The job's joiner on its cluster, as `FlinkRest.live_job` has it. Raises JobError when there is none."""
    if (live := live_job(job)) is None:
        raise JobError(f"Flink at {job.joiner.flink_address} runs no job {_name(job)!r}.")
    return live


def live_job(job: Job) -> dict[str, Any] | None:
    """As `running`; None when there is none."""
    address = job.joiner.flink_address
    assert address is not None
    try:
        return FlinkRest(address).live_job(_name(job))
    except FlinkUnreachableError as error:
        raise JobError(f"joiner.flink_address: Flink does not answer: {error}.") from error


def _name(job: Job) -> str:
    return joiner_name(job.name, job.joiner)


def _find(job: Job) -> tuple[FlinkRest, str]:
    return FlinkRest(str(job.joiner.flink_address)), str(running(job)["jid"])


def _check_new(flink: Flink) -> None:
    """Whoever begins anew joins, or archives, everything a second time."""
    if (known := flink.newest_of_cluster()) is not None:
        raise JobError(
            f"{flink.name!r} has run on Flink at {flink.address} before, and its newest checkpoint is "
            f"{known}: go on from it by --resume. With --anew every event that Kafka still has is joined "
            "again."
        )


def _flink(job: Job, run: RunDirectory, *, is_archive: bool = False) -> Flink:
    run.create()
    flink = Flink(job, run, is_archive=is_archive)
    flink.prepare()
    return flink


def _run_flink(flink: Flink, run: RunDirectory, *, resume: bool) -> str:
    """`flink run`; the id that the cluster has given the job."""
    log = run.logs / "submit.log"
    command = flink.submission(is_embedded=False, resume=resume)
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=output, env={**os.environ, **flink.env})
    said = log.read_text(errors="replace")
    found = _JOB_ID.search(said)
    if done.returncode or found is None:
        raise JobError(f"`flink run` has failed: {_reason(said)} (all of it: {log})")
    return found[1]


def _wait_until_running(rest: FlinkRest, job_id: str, wait_s: float, *, may_finish: bool) -> None:
    deadline_s = time.monotonic() + wait_s
    gives_up_s = deadline_s
    while True:
        try:
            job, cause = rest.job(job_id), rest.root_cause(job_id)
        except FlinkUnreachableError as error:
            job, cause = None, str(error)
        if job is not None and (is_running(job) or (job["state"] == "FINISHED" and may_finish)):
            return
        # From the first exception on; without one from now.
        gives_up_s = min(gives_up_s, time.monotonic() + _FAILING_S) if cause else deadline_s
        if time.monotonic() > gives_up_s or (job is not None and has_ended(job)):
            raise JobError(_not_running(rest, job_id, job, cause))
        time.sleep(_LOOK_S)


def _not_running(rest: FlinkRest, job_id: str, job: Mapping[str, Any] | None, cause: str | None) -> str:
    why = cause and cause.rstrip(".")
    if job is None:
        return f"Flink has taken job {job_id} and tells nothing of it: {why or 'it is not in its list'}."
    running = f"{job['tasks']['running']} of {job['tasks']['total']} tasks run"
    why = why or f"{_free_slots(rest)} slots are free; raise them, or lower joiner.parallelism"
    after = "" if has_ended(job) else " Flink goes on trying; `freshet stop JOB.yaml --cancel` ends it."
    return f"the job ({job_id}) is {job['state'].lower()}, {running}: {why}.{after}"


def _free_slots(rest: FlinkRest) -> str:
    try:
        return str(rest.get("/overview")["slots-available"])
    except (FlinkUnreachableError, KeyError):
        return "no"


def _reason(said: str) -> str:
    """What went wrong, from all that `flink run` says: the innermost cause that is not its own."""
    lines = [line.strip() for line in said.splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    told = [line for line in causes if not any(silent in line for silent in _SILENT_CAUSES)]
    # Without one Python failed before it came to Flink: the last line of its traceback says how.
    python = [line for line in lines if _PYTHON_ERROR.match(line)]
    return next(iter([*told[-1:], *python[-1:], *lines[-1:]]), "it says nothing").rstrip(".")
