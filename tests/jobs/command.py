"""The command `freshet`, in this process."""

from click.testing import CliRunner

from jobs.cli.group import freshet


def invoke(*arguments: str) -> tuple[int, str]:
    """Exit status and output, on a wide screen; anything else that is raised fails the test."""
    result = CliRunner().invoke(freshet, arguments, env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output
