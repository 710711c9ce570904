"""`freshet completion`."""

import click
from click.shell_completion import get_completion_class

from jobs.cli.command import command, print_json


@command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str, is_json: bool) -> None:
    """Print the completion script of a shell: commands, options, keys behind --set, runs.

    \b
    Examples:
      eval "$(freshet completion bash)"         in ~/.bashrc
      eval "$(freshet completion zsh)"          in ~/.zshrc
      freshet completion fish > ~/.config/fish/completions/freshet.fish
    """
    from jobs.cli.group import freshet

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(freshet, {}, "freshet", "_FRESHET_COMPLETE").source()
    print_json({"shell": shell, "script": script}) if is_json else click.echo(script)
