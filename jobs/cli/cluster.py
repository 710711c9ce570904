"""What `freshet submit` has started, joiner and archive, named by the job file: address, state, end."""

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.command import print_json
from jobs.cli.jobfile import load
from jobs.errors import JobError

if TYPE_CHECKING:
    from jobs.spec import Job

flink_master = click.option(
    "--flink-master",
    metavar="HOST:PORT",
    help="REST address of the Flink cluster [default: joiner.flink_address of the file].",
)


def is_job_file(name: str | None, flink_master: str | None, *others: object) -> bool:
    """Whether `name` is a job file; raises click.UsageError when it is not and an option needs one."""
    if name is not None and Path(name).suffix in (".yaml", ".yml"):
        return True
    if flink_master or any(others):
        raise click.UsageError("--flink-master, --set and --cancel go with a job file, JOB.yaml.")
    return False


def load_for_cluster(
    file: Path, overrides: Sequence[str], flink_master: str | None, from_savepoint: str | None = None
) -> "Job":
    """The job with the address of its own cluster; raises JobError (2) when something is left embedded."""
    given = {"flink_address": flink_master, "restore_from": from_savepoint}
    more = [f"joiner.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    job = load(file, [*overrides, *more], "unread")
    if job.joiner.flink_address is None:
        raise JobError(
            "--flink-master HOST:PORT: the job file names no joiner.flink_address, the REST address of your "
            "Flink cluster.",
            exit_status=2,
        )
    if job.kafka.bootstrap == "embedded":
        raise JobError(
            "kafka.bootstrap: is embedded, a broker of one run; name yours, host:port as the TaskManagers "
            "reach it.",
            exit_status=2,
        )
    return job


def stop_jobs(job: "Job", timeout_s: float, *, is_cancelled: bool, is_json: bool) -> None:
    """End the joiner, then its archive, as far as they run, and print from where each can go on.

    Raises JobError when none runs, or when one does not stop; the joiner's end is told all the same.
    """
    from jobs.archive import archive_job
    from jobs.submit import live_job, running

    archive = archive_job(job) if job.joiner.archive is not None else None
    is_archived = archive is not None and live_job(archive) is not None
    if not is_archived:
        running(job)
    told: dict[str, Any] = {}
    try:
        if live_job(job) is not None:
            told |= _stop_job(job, timeout_s, is_cancelled=is_cancelled, is_json=is_json)
        # Last, so that it may have what the joiner has written.
        if archive is not None and is_archived:
            told["archive"] = _stop_job(
                archive, timeout_s, is_cancelled=is_cancelled, is_json=is_json, is_archive=True
            )
    finally:
        if is_json and told:
            print_json(told)


def _stop_job(
    job: "Job", timeout_s: float, *, is_cancelled: bool, is_json: bool, is_archive: bool = False
) -> dict[str, Any]:
    from jobs import submit
    from pipelines.settings import joiner_name

    if is_cancelled:
        job_id, path = submit.cancel(job)
    else:
        job_id, path = submit.stop(job, timeout_s, is_archive=is_archive)
    option = "--archive-from-savepoint" if is_archive else "--from-savepoint"
    name = joiner_name(job.name, job.joiner)
    how = f"go on with {option} {shlex.quote(path)}" if path else "it had no checkpoint"
    if not is_json:
        click.echo(f"{name} has stopped (job {job_id}); {how}")
    return {"job": name, "job_id": job_id, ("checkpoint" if is_cancelled else "savepoint"): path}


def tell_jobs(job: "Job", *, is_json: bool) -> bool:
    """Print how joiner and archive are doing, what is wrong first; whether all is well.

    Raises JobError when there is no joiner.
    """
    from jobs.cli.report import as_duration, joiner_lines
    from jobs.stack.rest import is_running
    from jobs.submit import running

    live, seen, archive = running(job), _observed(job), _archive(job)
    state = live["state"].lower()
    wrong = [*([] if is_running(live) else [f"the job is {state}"]), *seen["alarms"]]
    if archive is not None and not archive["is_running"]:
        how = archive["state"] or "not there: `freshet submit --resume` starts it"
        wrong.append(f"the archive ({archive['job']}) is {how}")
    if is_json:
        told = {"job": live["name"], "job_id": live["jid"], "state": state, "wrong": wrong}
        print_json({**told, "observation": seen, **({"archive": archive} if archive else {})})
        return not wrong
    since = as_duration(time.time() - live["start-time"] / 1000)
    headline = (
        f"{live['name']}: {state} for {since} on Flink at {job.joiner.flink_address} (job {live['jid']})"
    )
    lines = [*(f"✗ {sentence}" for sentence in wrong), headline, *joiner_lines(seen)]
    if archive is not None and archive["job_id"] is not None:
        age_s = archive["checkpoint_age_s"]
        checkpoint = "no checkpoint yet" if age_s is None else f"checkpoint {age_s:.3g} s ago"
        lines.append(f"{'archive':<12}{archive['state']} · {checkpoint} (job {archive['job_id']})")
    click.echo("\n".join(lines))
    return not wrong


def _archive(job: "Job") -> dict[str, Any] | None:
    """How the archive is doing, None values when it does not run; None when there is to be none."""
    from jobs.archive import archive_job
    from jobs.stack.rest import FlinkRest, FlinkUnreachableError, is_running
    from jobs.submit import live_job

    if job.joiner.archive is None:
        return None
    archive = archive_job(job)
    if (live := live_job(archive)) is None:
        return {"job": archive.name, "job_id": None, "state": None, "is_running": False}
    latest: dict[str, Any] = {}
    # Of a job that it is still initializing Flink knows no checkpoints, and answers 404.
    with suppress(FlinkUnreachableError):
        latest = FlinkRest(str(job.joiner.flink_address)).get(f"/jobs/{live['jid']}/checkpoints")["latest"]
    at_ms = (latest.get("completed") or {}).get("latest_ack_timestamp")
    return {
        "job": archive.name,
        "job_id": live["jid"],
        "state": live["state"].lower(),
        "is_running": is_running(live),
        "checkpoint_age_s": None if at_ms is None else time.time() - at_ms / 1000,
    }


def _observed(job: "Job") -> dict[str, Any]:
    """Two looks at the joiner alone: what else the file names is not asked."""
    from jobs.cli import report
    from jobs.observe import Observer
    from jobs.spec import TrafficSettings

    others = {
        "ps": job.ps.model_copy(update={"addresses": (), "metrics_addresses": ()}),
        "trainer": job.trainer.model_copy(update={"metrics_addresses": ()}),
        "serving": job.serving.model_copy(update={"addresses": ()}),
        "traffic": TrafficSettings(),
    }
    observer = Observer(job.model_copy(update=others), Path("runs") / job.name)
    try:
        observer.observe()
        time.sleep(report.BETWEEN_LOOKS_S)
        return asdict(observer.observe())
    finally:
        observer.close()
