"""`freshet expire`."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.command import command, print_json
from jobs.cli.jobfile import job_arguments, load


@command
@job_arguments
@click.option("--table", metavar="NAME", help="Only this table. [default: all]")
@click.option(
    "--after-s",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Try this in place of expiry.after_s: seconds of event time since a row's last update.",
)
@click.option(
    "--max-rows", type=click.IntRange(0), metavar="N", help="Try this in place of the table's max_rows."
)
@click.option(
    "--dry-run/--yes",
    default=True,
    help="Only show what would go; or remove what has expired by the job file, now. [default: --dry-run]",
)
def expire(
    file: Path,
    overrides: tuple[str, ...],
    table: str | None,
    after_s: float | None,
    max_rows: int | None,
    dry_run: bool,
    is_json: bool,
) -> None:
    """Show which rows the tables of a running job would lose; with --yes remove those that have expired.

    Shards remove such rows by themselves, a few with each batch (expiry.after_s, max_rows of a table). This
    says what another policy would remove, or does not wait. The clock is event time. The run is the one at
    ps.addresses, or else the job's newest in runs/.

    \b
    Examples:
      freshet expire jobs/demo.yaml
      freshet expire jobs/demo.yaml --table user_id --after-s 86400
      freshet expire jobs/demo.yaml --max-rows 100000 --json
      freshet expire jobs/demo.yaml --yes

    Exit status: 0 done, 1 no run is there or a shard failed, 2 bad input.
    """
    if not dry_run and (table is not None or after_s is not None or max_rows is not None):
        raise click.UsageError(
            "--table, --after-s and --max-rows are to try: --yes removes what the job file says."
        )
    job = load(file, overrides, "unread")
    from jobs.expiry import Trial, find_shards, print_fates, removal, trial

    addresses = find_shards(job)
    fates = trial(job, addresses, Trial(table, after_s, max_rows)) if dry_run else removal(job, addresses)
    if is_json:
        print_json({"dry_run": dry_run, "tables": {name: asdict(fate) for name, fate in fates.items()}})
    else:
        print_fates(fates, dry_run)
