"""`freshet status` and `freshet stop`."""

import os
import signal
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from jobs.cli.cluster import flink_master, is_job_file, load_for_cluster, stop_jobs, tell_jobs
from jobs.cli.command import command, print_json
from jobs.cli.jobfile import override_option
from jobs.errors import JobError


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from jobs.stack.record import run_names

    return [CompletionItem(name) for name in run_names() if name.startswith(incomplete)]


_run = click.argument("run", metavar="[RUN | JOB.yaml]", required=False, shell_complete=_complete)


@command
@_run
@flink_master
@override_option
def status(run: str | None, flink_master: str | None, overrides: tuple[str, ...], is_json: bool) -> None:
    """How a run is doing, or a joiner that `freshet submit` has started. What is wrong comes first.

    RUN is a run's directory or a job's name; without it: the newest run in runs/. With a job file: its joiner
    on its Flink cluster, with what joiner.metrics_addresses tell, and its archive.

    \b
    Examples:
      freshet status
      freshet status demo --json
      freshet status films.yaml --flink-master flink:8081

    Exit status: 0 all is well, or it has ended as it should; 1 something is wrong; 2 there is no such run.
    """
    if is_job_file(run, flink_master, overrides):
        job = load_for_cluster(Path(str(run)), overrides, flink_master)
        raise click.exceptions.Exit(0 if tell_jobs(job, is_json=is_json) else 1)
    from jobs.cli.report import look
    from jobs.stack.record import find_run

    report = look(find_run(run))
    print_json(report.as_json()) if is_json else click.echo(report.as_text())
    raise click.exceptions.Exit(1 if report.wrong else 0)


@command
@_run
@flink_master
@override_option
@click.option(
    "--timeout", default=120.0, show_default=True, metavar="S", help="How long to wait for its end."
)
@click.option("--cancel", is_flag=True, help="End a submitted joiner at once, without a savepoint.")
def stop(
    run: str | None,
    flink_master: str | None,
    overrides: tuple[str, ...],
    timeout: float,
    cancel: bool,
    is_json: bool,
) -> None:
    """Stop a run and wait until it is gone; or a joiner that `freshet submit` has started.

    A run ends as after Ctrl-C: traffic first, then the last examples are learnt, a summary is written, and
    every part stops. RUN is a run's directory or a job's name; without it: the newest run in runs/.

    With a job file the joiner stops on its Flink cluster, and then its archive, each with a savepoint whose
    path is printed.

    \b
    Examples:
      freshet stop
      freshet stop runs/demo-20260301-120000
      freshet stop films.yaml --flink-master flink:8081

    Exit status: 0 it is gone, 1 it did not end in time, 2 there is no such run.
    """
    if is_job_file(run, flink_master, overrides, cancel):
        job = load_for_cluster(Path(str(run)), overrides, flink_master)
        stop_jobs(job, timeout, is_cancelled=cancel, is_json=is_json)
        return
    from jobs.stack.record import find_run, wait_until_gone

    record = find_run(run)
    pid = record.pid
    if pid is not None:
        _signal(pid, record.job)
        if not wait_until_gone(record, timeout):
            raise JobError(
                f"{record.job} (process {pid}) still runs after {timeout:g} s: look into "
                f"{record.path / 'logs'}, or stop it again, which skips what it waits for."
            )
    answer: dict[str, Any] = {"run": str(record.path), "job": record.job, "was_running": pid is not None}
    sentence = f"{record.job}: {'stopped' if pid is not None else 'was not running'} ({record.path})"
    print_json(answer) if is_json else click.echo(sentence)


def _signal(pid: int, job: str) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise JobError(f"{job} (process {pid}) is another user's; stop it as that user.") from error
