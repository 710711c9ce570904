import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs import doctor
from jobs.cli.group import freshet
from jobs.doctor import Check
from jobs.spec import Job

DEMO = str(Path(__file__).parents[3] / "jobs" / "demo.yaml")
GOOD, POOR = Check("Python", "ok", "3.11.7"), Check("memory", "warn", "1 GB", "close other programs")
BAD = Check("jars", "fail", "none", "make setup")


def pretend(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> list[Job | None]:
    asked: list[Job | None] = []

    def examine(job: Job | None) -> Iterator[Check]:
        asked.append(job)
        yield from checks

    monkeypatch.setattr(doctor, "examine", examine)
    return asked


def test_each_check_is_a_line_and_each_fault_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch, GOOD, POOR, BAD)
    result = CliRunner().invoke(freshet, ["doctor"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "✓ Python          3.11.7",
        "! memory          1 GB",
        "    → close other programs",
        "✗ jars            none",
        "    → make setup",
    ]
    assert asked == [None]


def test_a_warning_does_not_keep_a_run_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch, GOOD, POOR)
    result = CliRunner().invoke(freshet, ["doctor", DEMO, "--set", "ps.shards=3", "--json"])
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert told["ready"] is True
    assert told["checks"][1] == {
        "name": "memory",
        "state": "warn",
        "detail": "1 GB",
        "fix": "close other programs",
    }
    assert asked[0] is not None
    assert asked[0].ps.shards == 3


def test_a_job_file_that_is_wrong_is_bad_input() -> None:
    assert CliRunner().invoke(freshet, ["doctor", "none.yaml"]).exit_code == 2
