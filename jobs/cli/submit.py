"""`freshet submit`: the joiner, and its archive, on a Flink cluster of one's own."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jobs.cli.cluster import flink_master, load_for_cluster
from jobs.cli.command import command, print_json
from jobs.cli.jobfile import FILE, job_arguments
from jobs.cli.words import Duration

if TYPE_CHECKING:
    from jobs.spec import Job
    from jobs.stack.layout import RunDirectory


class _Step(NamedTuple):
    facts: dict[str, Any]
    words: str
    is_progress: bool = False
    """No result: it goes to stderr."""


@command
@job_arguments
@flink_master
@click.option(
    "--from-savepoint", metavar="PATH", help="Go on from this savepoint or checkpoint (`flink run -s`)."
)
@click.option(
    "--archive-from-savepoint",
    metavar="PATH",
    help="The same for the archive, which otherwise goes on from what the cluster knows of it.",
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
    "--run-dir",
    type=FILE,
    metavar="DIR",
    help="Where what is submitted is written [default: runs/NAME, or NAME-backfill].",
)
def submit(
    file: Path,
    overrides: tuple[str, ...],
    flink_master: str | None,
    from_savepoint: str | None,
    archive_from_savepoint: str | None,
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
    JOB.yaml` ends it with a savepoint, from which --from-savepoint goes on. With joiner.archive there is a
    second job, NAME-archive. A backfill (joiner.input) is called NAME-backfill.

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
    from jobs.archive import archive_of
    from jobs.stack.layout import RunDirectory
    from pipelines.settings import joiner_name

    run = RunDirectory((run_dir or Path("runs") / joiner_name(job.name, job.joiner)).resolve())
    archive = archive_of(job, run, archive_from_savepoint)
    if archive is None and archive_from_savepoint:
        raise click.UsageError("--archive-from-savepoint: the job file has no joiner.archive.")
    if dry_run:
        _print_commands(job, archive, run, is_json=is_json)
        return
    wait_s = None if detached else timeout
    told = _tell(_steps(job, archive, run, resume=resume, anew=anew, wait_s=wait_s), is_json=is_json)
    if "accounting" in told:
        from jobs.follow import has_gone_wrong

        if has_gone_wrong(told):
            raise click.exceptions.Exit(1)


def _steps(
    job: "Job", archive: "Job | None", run: "RunDirectory", *, resume: bool, anew: bool, wait_s: float | None
) -> Iterator[_Step]:
    """Both jobs, then a backfill to its end."""
    from jobs.submit import submit, submit_archive
    from pipelines.settings import joiner_name

    # Of a backfill the result is its end.
    is_followed = job.joiner.input is not None and wait_s is not None
    done, name = submit(job, run, resume=resume, wait_s=wait_s, anew=anew), joiner_name(job.name, job.joiner)
    yield _Step({"job": name, **asdict(done)}, done.in_words(job), is_progress=is_followed)
    if archive is not None:
        goes_on = resume or job.joiner.restore_from is not None
        written = submit_archive(archive, run, goes_on=goes_on, wait_s=wait_s)
        facts = {"job": archive.name, **asdict(written)}
        yield _Step({"archive": facts}, written.in_words(archive), is_progress=is_followed)
    if is_followed:
        from jobs.follow import follow, report, to_stderr

        summary = follow(job, run, done.job_id, to_stderr)
        yield _Step({**summary, "job": name, "state": "FINISHED"}, report(job, summary))


def _tell(steps: Iterable[_Step], *, is_json: bool) -> dict[str, Any]:
    """In words each as soon as it is done; as JSON together, also those before one that fails."""
    told: dict[str, Any] = {}
    try:
        for step in steps:
            told |= step.facts
            if not is_json:
                click.echo(step.words, err=step.is_progress)
    finally:
        if is_json and told:
            print_json(told)
    return told


def _print_commands(job: "Job", archive: "Job | None", run: "RunDirectory", *, is_json: bool) -> None:
    """One on a line."""
    from jobs.submit import command_line

    commands = {"command": command_line(job, run)}
    if archive is not None:
        commands["archive_command"] = command_line(archive, run, is_archive=True)
    if is_json:
        print_json({**commands, "files": str(run.flink)})
    else:
        click.echo("\n".join(commands.values()))
