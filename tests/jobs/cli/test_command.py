import json

import pytest
from click.testing import CliRunner

from jobs.cli.command import command, print_json
from jobs.errors import JobError
from jobs.load import JobFileError, Problem

PROBLEMS = [
    Problem("job.yaml", 3, 7, "ps.shards", 0, "must be above 0"),
    Problem("--set a.b=1", None, None, "a", None, "is unknown", "c"),
]


def fails_with(error: Exception, *arguments: str) -> tuple[int, str, str]:
    @command
    def failing(is_json: bool) -> None:
        raise error

    result = CliRunner().invoke(failing, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_an_error_is_a_sentence_with_its_exit_status() -> None:
    assert fails_with(JobError("the disk is full.")) == (1, "", "Error: the disk is full.\n")
    assert fails_with(JobError("no such run.", 2)) == (2, "", "Error: no such run.\n")


def test_an_error_is_json_for_programs() -> None:
    status, out, err = fails_with(JobError("the disk is full."), "--json")
    assert (status, json.loads(out), err) == (1, {"error": "the disk is full."}, "")


def test_mistakes_in_a_job_file_are_lines_and_a_count() -> None:
    status, out, err = fails_with(JobFileError(PROBLEMS))
    assert (status, out) == (2, "")
    assert err == (
        "job.yaml:3:7: ps.shards: must be above 0 (got 0)\n"
        "--set a.b=1: a: is unknown (did you mean c?)\n"
        "Error: 2 mistakes in job.yaml and on the command line\n"
    )


def test_a_single_mistake_is_a_sentence() -> None:
    _, _, err = fails_with(JobFileError(PROBLEMS[:1]))
    assert err == "Error: job.yaml:3:7: ps.shards: must be above 0 (got 0)\n"


def test_mistakes_in_a_job_file_are_json_for_programs() -> None:
    status, out, _ = fails_with(JobFileError(PROBLEMS[:1]), "--json")
    assert status == 2
    assert json.loads(out) == {
        "error": "1 mistake in job.yaml",
        "problems": [
            {
                "file": "job.yaml",
                "line": 3,
                "column": 7,
                "path": "ps.shards",
                "value": 0,
                "message": "must be above 0",
                "suggestion": None,
            }
        ],
    }


def test_what_nobody_expected_is_named_and_traced_only_with_debug() -> None:
    assert fails_with(KeyError("x")) == (1, "", "Error: KeyError: 'x' (--debug shows where)\n")
    assert json.loads(fails_with(KeyError("x"), "--json")[1]) == {"error": "KeyError: 'x'"}


def test_debug_lets_the_traceback_through() -> None:
    @command
    def failing(is_json: bool) -> None:
        raise JobError("x")

    result = CliRunner().invoke(failing, ["--debug"])
    assert isinstance(result.exception, JobError)


def test_the_log_of_a_role_has_its_traceback() -> None:
    import click

    for error, is_traced in ((KeyError("x"), True), (JobError("x"), False)):

        @command
        @click.option("--role")
        def failing(role: str, is_json: bool, error: Exception = error) -> None:
            raise error

        result = CliRunner().invoke(failing, ["--role", "ps"])
        assert isinstance(result.exception, KeyError) is is_traced


def test_json_is_readable_and_takes_what_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ä": {1}})
    assert capsys.readouterr().out == '{\n  "ä": "{1}"\n}\n'
