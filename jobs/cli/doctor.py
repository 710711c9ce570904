"""`freshet doctor`."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.cli.command import command, print_json
from jobs.cli.jobfile import FILE, load, override_option

_MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}


@command
@click.argument("file", metavar="[JOB.yaml]", type=FILE, required=False)
@override_option
def doctor(file: Path | None, overrides: tuple[str, ...], is_json: bool) -> None:
    """Check that this machine has what a run needs. Each line that is not ✓ says what to do.

    With a job file its addresses, its Kafka, its Flink and its data are tried as well. Nothing is changed.

    \b
    Examples:
      freshet doctor
      freshet doctor jobs/kuairand.yaml --set traffic.path=DIR

    Exit status: 0 a run can start, 1 it can't, 2 the job file is wrong.
    """
    from jobs.doctor import examine

    job = load(file, overrides, "unread") if file is not None else None
    checks = []
    for check in examine(job):
        checks.append(check)
        if not is_json:
            fix = f"\n    → {check.fix}" if check.fix else ""
            click.echo(f"{_MARKS[check.state]} {check.name:<16}{check.detail}{fix}")
    is_ready = all(check.state != "fail" for check in checks)
    if is_json:
        print_json({"ready": is_ready, "checks": [asdict(check) for check in checks]})
    raise click.exceptions.Exit(0 if is_ready else 1)
