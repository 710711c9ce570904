"""`freshet bench`."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from jobs.cli.command import command, print_json
from jobs.cli.words import meant
from jobs.errors import JobError

BENCHMARKS: Final = Path(__file__).parents[2] / "benchmarks"


def names() -> list[str]:
    """The benchmarks there are; none where the package was installed without them."""
    return sorted(path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_"))


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


def bench_arguments(function: Any) -> Any:
    """Adds NAME and everything after it."""
    name = click.argument("name", required=False, shell_complete=_complete)
    arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    return name(arguments(function))


@command
@bench_arguments
def bench(name: str | None, arguments: tuple[str, ...], is_json: bool) -> None:
    """Measure a part: runs benchmarks/NAME.py with ARGUMENTS. Without a name: lists them.

    Whatever stands behind NAME is the benchmark's own; `freshet bench NAME -- --help` says what it takes.

    \b
    Examples:
      freshet bench
      freshet bench table
      freshet bench serving --seconds 5 --json

    Exit status: the benchmark's; 2 for an unknown name.
    """
    if name is None:
        print_json({"benchmarks": names()}) if is_json else click.echo("\n".join(names()))
        return
    if not names():
        raise JobError(
            f"there are no benchmarks in {BENCHMARKS}: they are part of the source, not of the package.", 2
        )
    if name not in names():
        raise JobError(f"there is no benchmark {name!r}{meant(name, names())}", 2)
    extra = ["--json"] if is_json else []
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments, *extra], cwd=BENCHMARKS.parent
    )
    raise click.exceptions.Exit(done.returncode)


bench.context_settings = {"ignore_unknown_options": True}
