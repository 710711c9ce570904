"""The commands of `freshet` and what its help says of them."""

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "run": ("jobs.cli.run", "Run a job: the whole loop, or one role of it."),
    "validate": ("jobs.cli.files", "Say everything that is wrong with a job file."),
    "schema": ("jobs.cli.files", "Print the JSON Schema of job files."),
    "status": ("jobs.cli.runs", "How a run, or a submitted joiner, is doing."),
    "stop": ("jobs.cli.runs", "Stop a run, or a submitted joiner, with a savepoint."),
    "expire": ("jobs.cli.expire", "Show which rows a run's tables would lose, or remove them."),
    "doctor": ("jobs.cli.doctor", "Check that this machine has what a run needs."),
    "submit": ("jobs.cli.submit", "Submit the joiner to a Flink cluster of your own."),
    "k8s": ("jobs.cli.k8s", "Print the joiner as a manifest for Kubernetes."),
    "replay": ("jobs.cli.run", "Replay recorded traffic into a loop that runs already."),
    "bench": ("jobs.cli.bench", "Measure a part, beside a peer."),
    "completion": ("jobs.cli.completion", "Print the completion script of a shell."),
}
"""Command: the module with the function of its name, and one line about it."""


class Lazy(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None for an unknown one."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with what was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from jobs.cli.words import meant

            ctx.fail(f"There is no command {args[0]!r}{meant(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="freshet", message="%(prog)s %(version)s")
def freshet() -> None:
    """Recommendation models that learn from what users did seconds ago.

    One YAML file describes a recommender (a job); `freshet run` runs it.

    \b
    First steps:
      freshet doctor                          is everything here that a run needs?
      freshet run jobs/demo.yaml              the whole loop on simulated users
      freshet status                          how is it doing? (in a second terminal)
      freshet stop

    \b
    Your own recommender:
      cp jobs/demo.yaml films.yaml            then edit it
      freshet validate films.yaml             all mistakes at once, with line and column
      freshet run films.yaml --set ps.shards=4

    Every command takes --json (output for programs) and --debug (a traceback with errors), and
    ends with status 0 (done), 1 (failed) or 2 (bad input). `freshet COMMAND --help` says more.
    """
