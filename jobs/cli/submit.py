"""`freshet submit`: the joiner, on a Flink cluster of one's own."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.cluster import flink_master, load_for_cluster
from jobs.cli.command import command, print_json
from jobs.cli.jobfile import FILE, job_arguments
from jobs.cli.words import Duration


@command
@job_arguments
@flink_master
@click.option(
    "--from-savepoint", metavar="PATH", help="Go on from this savepoint or checkpoint (`flink run -s`)."
)
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint that the cluster knows.")
@click.option(
    "--anew", is_flag=True, help="Join everything again, though the cluster has known the job before."
)
@click.option("--detached", is_flag=True, help="End when the cluster has taken the job, not when it runs.")
@click.option(
    "--timeout",
    type=Duration(),
    default="2m",
    show_default=True,
    metavar="S",
    help="How long it may take until it runs.",
)
@click.option("--dry-run", is_flag=True, help="Print the `flink run` command instead, ready to be pasted.")
@click.option(
    "--run-dir", type=FILE, metavar="DIR", help="Where what is submitted is written [default: runs/NAME]."
)
def submit(
    file: Path,
    overrides: tuple[str, ...],
    flink_master: str | None,
    from_savepoint: str | None,
    resume: bool,
    anew: bool,
    detached: bool,
    timeout: float,
    dry_run: bool,
    run_dir: Path | None,
    is_json: bool,
) -> None:
    """Submit the joiner to a Flink cluster of your own, standalone or a session, and see that it runs.

    Reads kafka, schema and joiner of the job file. The Kafka connector goes along with the job. `freshet stop
    JOB.yaml` ends it with a savepoint, from which --from-savepoint goes on.

    \b
    Examples:
      freshet submit films.yaml --flink-master flink:8081
      freshet submit films.yaml --flink-master flink:8081 --from-savepoint s3://b/savepoints/savepoint-1a2b
      freshet submit films.yaml --flink-master flink:8081 --dry-run

    Exit status: 0 it runs; 1 the cluster or Kafka does not answer, a job of this name runs already, or it
    does not start; 2 bad input.
    """
    if resume + anew + bool(from_savepoint) > 1:
        raise click.UsageError("--resume, --from-savepoint and --anew: one of them says where to begin.")
    if resume and dry_run:
        raise click.UsageError("--dry-run asks no cluster: name a checkpoint with --from-savepoint.")
    job = load_for_cluster(file, overrides, flink_master, from_savepoint)
    from jobs.stack.layout import RunDirectory
    from jobs.submit import command_line
    from jobs.submit import submit as submit_job

    run = RunDirectory((run_dir or Path("runs") / job.name).resolve())
    if dry_run:
        line = command_line(job, run)
        print_json({"command": line, "files": str(run.flink)}) if is_json else click.echo(line)
        return
    done = submit_job(job, run, resume=resume, wait_s=None if detached else timeout, anew=anew)
    print_json({"job": job.name, **asdict(done)}) if is_json else click.echo(done.in_words(job))
