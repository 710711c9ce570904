"""The arguments JOB.yaml and `--set`, and the job that they make."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from jobs.spec import Job

FILE = click.Path(path_type=Path)


def _complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from jobs.validation.shape import find, keys_of

    block, dot, _ = incomplete.rpartition(".")
    path = tuple(block.split(".")) if dot else ()
    keys = (f"{block}{dot}{key}" for key in keys_of(path))
    return [
        CompletionItem(key + ("." if find((*path, key.rpartition(".")[2])).get("type") == "object" else "="))
        for key in keys
        if key.startswith(incomplete)
    ]


override_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.KEY=VALUE",
    shell_complete=_complete_key,
    help="Change a value of the job file, e.g. --set traffic.speed=100x. May be repeated.",
)


def job_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds JOB.yaml (`file`) and `--set` (`overrides`)."""
    return click.argument("file", metavar="JOB.yaml", type=FILE)(override_option(function))


def load(file: Path, overrides: Sequence[str], data: Literal["unread", "columns", "values"]) -> "Job":
    """The job, after a look at as much of its `traffic.path`; raises `jobs.load.JobFileError`."""
    from jobs.load import load_job
    from jobs.validation.meaning import check

    if data == "unread":
        return load_job(file, overrides)
    from jobs.validation.replayable import check_columns, check_data

    return load_job(file, overrides, (check, check_columns if data == "columns" else check_data))
