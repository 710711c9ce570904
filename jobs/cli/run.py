"""`freshet run` and `freshet replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from jobs.cli.command import command
from jobs.cli.jobfile import FILE, job_arguments, load
from jobs.cli.words import Duration
from jobs.errors import JobError

if TYPE_CHECKING:
    from jobs.spec import Job

ROLES: Final = ("ps", "trainer", "replica", "traffic", "dashboard", "joiner", "archive")

_resume = click.option(
    "--resume", is_flag=True, help="Go on from the newest snapshot of --run-dir, or of the last run."
)
_run_dir = click.option(
    "--run-dir",
    type=FILE,
    metavar="DIR",
    help="Where the run's files go [default: runs/NAME-TIME; for a role runs/NAME].",
)


@command
@job_arguments
@click.option(
    "--for", "for_s", type=Duration(), metavar="S", help="End after so long: 120, 90s, 5m. [default: Ctrl-C]"
)
@click.option(
    "--until-drained", is_flag=True, help="End when a replay is through and its last example is learnt."
)
@click.option("--summary", type=FILE, metavar="FILE", help="Write the summary to FILE as JSON.")
@_resume
@_run_dir
@click.option(
    "--role", type=click.Choice(ROLES), help="Start only this part, here, with the file's addresses."
)
@click.option("--index", type=click.IntRange(0), help="Which of several: shard 0, 1, … [default: 0]")
def run(
    file: Path,
    overrides: tuple[str, ...],
    for_s: float | None,
    until_drained: bool,
    summary: Path | None,
    resume: bool,
    run_dir: Path | None,
    role: str | None,
    index: int | None,
    is_json: bool,
) -> None:
    """Run a job: every part of the loop on this machine, or one role of it.

    Prints each part as it comes up, the dashboard's address, a live line, and a summary at the end.
    Ctrl-C stops all parts.

    \b
    Examples:
      freshet run jobs/demo.yaml
      freshet run jobs/demo.yaml --for 2m --summary summary.json
      freshet run jobs/kuairand.yaml --set traffic.path=DIR --until-drained
      freshet run jobs/demo.yaml --resume
      freshet run films.yaml --role ps --index 1      one part, as on several machines

    Exit status: 0 done, 1 a part failed or impressions are unaccounted for, 2 bad input.
    """
    if role is None and index is not None:
        raise click.UsageError("--index needs --role: it says which of several shards, trainers or replicas.")
    if role is not None and (for_s is not None or until_drained or summary is not None):
        raise click.UsageError(
            "--for, --until-drained and --summary are for the whole loop, not for one role."
        )
    if role is not None:
        run_one(load(file, overrides, "unread"), role, index or 0, run_dir, resume)
        return
    job = load(file, overrides, "columns")
    from jobs.run import RunOptions
    from jobs.run import run as run_all

    options = RunOptions(run_dir, for_s, until_drained, summary, resume, is_json)
    raise click.exceptions.Exit(run_all(job, options))


def run_one(job: "Job", role: str, index: int, run_dir: Path | None, resume: bool) -> None:
    """One role in this process; raises JobError when there is no such part."""
    from jobs.roles import run_role
    from pipelines.settings import joiner_name

    counts = {"ps": job.ps.shards, "trainer": job.trainer.workers, "replica": job.serving.replicas}
    count = counts.get(role, 1)
    if index >= count:
        raise JobError(f"--index {index}: the job has {count} of role {role}, so 0 to {count - 1}.", 2)
    # A backfill's files are not those of the live joiner.
    own = joiner_name(job.name, job.joiner) if role in ("joiner", "archive") else job.name
    place = run_dir or Path("runs") / own
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"--run-dir {place} can't be made: {error.strerror}.", 2) from error
    run_role(job, role, index, place, resume)


@command
@job_arguments
@_resume
@_run_dir
def replay(file: Path, overrides: tuple[str, ...], resume: bool, run_dir: Path | None, is_json: bool) -> None:
    """Replay recorded traffic into a loop that runs already.

    Only traffic is started here: it asks the replicas in serving.addresses for scores, and writes requests
    and reactions to kafka.bootstrap. `freshet run JOB.yaml` starts everything and replays by itself.

    \b
    Examples:
      freshet replay films.yaml --set traffic.path=ratings.csv --set traffic.speed=100x
      freshet replay runs/films-latest/job.yaml --set traffic.path=ratings.csv     into a local run

    Exit status: 0 done, 1 failed, 2 bad input.
    """
    keys = {each.partition("=")[0] for each in overrides}
    # A run's own job file has the addresses of its own traffic, which may be running.
    own = ["traffic.kind=replay", *({"traffic.metrics_address"} - keys and ["traffic.metrics_address=null"])]
    job = load(file, [*own, *overrides], "columns")
    if job.kafka.bootstrap == "embedded" or not job.serving.addresses:
        raise JobError(
            f"{file} names no running loop: set kafka.bootstrap and serving.addresses, "
            "or give a run's own file, runs/NAME-latest/job.yaml.",
            exit_status=2,
        )
    run_one(job, "traffic", 0, run_dir or Path("runs") / f"{job.name}-replay", resume)
