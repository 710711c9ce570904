"""A joiner that `freshet submit` has started, named by its job file: its address, its state, its end."""

import json
import shlex
import time
from collections.abc import Sequence
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


def stop_joiner(job: "Job", timeout_s: float, *, is_cancelled: bool, is_json: bool) -> None:
    """End it, and print from where it can go on."""
    from jobs import submit

    if is_cancelled:
        job_id, path = submit.cancel(job)
        answer = {"job": job.name, "job_id": job_id, "checkpoint": path}
    else:
        job_id, path = submit.stop(job, timeout_s)
        answer = {"job": job.name, "job_id": job_id, "savepoint": path}
    how = f"go on with --from-savepoint {shlex.quote(path)}" if path else "it had no checkpoint"
    print_json(answer) if is_json else click.echo(f"{job.name} has stopped (job {job_id}); {how}")


def tell_joiner(job: "Job", *, is_json: bool) -> bool:
    """Print how it is doing, what is wrong first; whether all is well. Raises JobError when there is none."""
    from jobs.cli.report import as_duration, joiner_lines
    from jobs.stack.rest import is_running
    from jobs.submit import running

    live, seen = running(job), _observed(job)
    state = live["state"].lower()
    wrong = [*([] if is_running(live) else [f"the job is {state}"]), *seen["alarms"]]
    if is_json:
        told = {"job": job.name, "job_id": live["jid"], "state": state, "wrong": wrong}
        print_json({**told, "observation": seen})
        return not wrong
    since = as_duration(time.time() - live["start-time"] / 1000)
    headline = f"{job.name}: {state} for {since} on Flink at {job.joiner.flink_address} (job {live['jid']})"
    click.echo("\n".join([*(f"✗ {sentence}" for sentence in wrong), headline, *joiner_lines(seen)]))
    return not wrong


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
