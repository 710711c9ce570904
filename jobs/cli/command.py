"""What all commands share: `--json`, `--debug`, errors as sentences, exit statuses."""

import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

import click

from jobs.errors import JobError

Function = Callable[..., Any]


def command(function: Function) -> click.Command:
    """A click command of `function`, which gets `is_json` and raises JobError when it fails."""

    @click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
    @click.option("--debug", is_flag=True, help="Print a traceback with an error.")
    @functools.wraps(function)
    def guarded(debug: bool, **arguments: Any) -> None:
        try:
            function(**arguments)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            # A role's output is its log, where a traceback belongs; a sentence for the user stays one.
            is_of_role = arguments.get("role") is not None and not isinstance(error, JobError)
            if debug or is_of_role:
                raise
            _fail(error, arguments["is_json"])

    return click.command(guarded)


def _fail(error: Exception, is_json: bool) -> NoReturn:
    from jobs.cli.problems import as_json, as_text

    if is_json:
        print_json(as_json(error))
    else:
        click.echo(as_text(error), err=True)
    raise click.exceptions.Exit(error.exit_status if isinstance(error, JobError) else 1)


def print_json(value: Any) -> None:
    """`value` on standard output, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
