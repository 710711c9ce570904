import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import bench
from jobs.cli.group import freshet


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "speed.py").write_text("import sys; print(sys.argv[1:]); sys.exit(len(sys.argv) - 1)")
    (folder / "_shared.py").touch()
    monkeypatch.setattr(bench, "BENCHMARKS", folder)
    return folder


def test_without_a_name_the_benchmarks_are_listed() -> None:
    assert CliRunner().invoke(freshet, ["bench"]).output == "speed\n"
    assert json.loads(CliRunner().invoke(freshet, ["bench", "--json"]).output) == {"benchmarks": ["speed"]}


def test_an_unknown_name_is_bad_input_with_a_guess() -> None:
    result = CliRunner().invoke(freshet, ["bench", "sped"])
    assert (result.exit_code, result.output) == (
        2,
        "Error: there is no benchmark 'sped'. Did you mean speed?\n",
    )


def test_the_rest_of_the_line_is_the_benchmarks(capfd: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(freshet, ["bench", "speed", "--seconds", "5", "--json"])
    assert result.exit_code == 3
    assert capfd.readouterr().out == "['--seconds', '5', '--json']\n"


def test_without_the_source_there_are_none(benchmarks: Path) -> None:
    (benchmarks / "speed.py").unlink()
    result = CliRunner().invoke(freshet, ["bench", "speed"])
    assert result.exit_code == 2
    assert "part of the source" in result.output
