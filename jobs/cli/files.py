"""`freshet validate` and `freshet schema`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.command import command, print_json
from jobs.cli.jobfile import job_arguments, load

if TYPE_CHECKING:
    from jobs.spec import Job


@command
@job_arguments
def validate(file: Path, overrides: tuple[str, ...], is_json: bool) -> None:
    """Say everything that is wrong with a job file, in one go.

    Each mistake comes with file:line:column, its path, what would be valid and what was probably meant.
    Nothing is started, and no address is asked.

    \b
    Examples:
      freshet validate films.yaml
      freshet validate jobs/kuairand.yaml --set traffic.path=~/kuairand     looks into the data as well

    Exit status: 0 the file is right, 2 it is not.
    """
    job = load(file, overrides, "values")
    note = None
    if job.traffic.kind == "replay" and job.traffic.path is None:
        note = "Name what to replay when you run it: --set traffic.path=…"
    if is_json:
        print_json({"job": job.name, "problems": [], "note": note})
    else:
        click.echo(f"{file}: all right: {_outline(job)}." + (f"\n{note}" if note else ""))


def _outline(job: "Job") -> str:
    schema = job.schema_
    counts = ((schema.features, "feature"), (schema.crosses, "cross"), (schema.labels, "label"))
    words = [
        f"{len(block)} {word}{('es' if word == 'cross' else 's') if len(block) != 1 else ''}"
        for block, word in counts
    ]
    return f"job {job.name}, {', '.join(words)}, traffic {job.traffic.kind}"


@command
def schema(is_json: bool) -> None:
    """Print the JSON Schema of job files; editors complete and check by it.

    \b
    Examples:
      freshet schema > job.schema.json
      # then, as first line of a job file, for editors with a YAML language server:
      # yaml-language-server: $schema=job.schema.json
    """
    from jobs.validation.shape import json_schema

    print_json(json_schema())
