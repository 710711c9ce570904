import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli.group import freshet

PROJECT = Path(__file__).parents[3]


def completed(*words: str) -> list[str]:
    env = {
        **os.environ,
        "_FRESHET_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "jobs"], env=env, capture_output=True, text=True, cwd=PROJECT, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    result = CliRunner().invoke(freshet, ["completion", shell, "--json"])
    assert result.exit_code == 0
    assert "_FRESHET_COMPLETE" in json.loads(result.output)["script"]
    assert (
        CliRunner()
        .invoke(freshet, ["completion", shell])
        .output.startswith(json.loads(result.output)["script"][:20])
    )


def test_another_shell_is_bad_input() -> None:
    assert CliRunner().invoke(freshet, ["completion", "csh"]).exit_code == 2


def test_commands_and_keys_are_completed() -> None:
    assert completed("freshet", "val") == ["validate"]
    assert completed("freshet", "run", "x.yaml", "--set", "tra") == ["trainer.", "traffic."]
    assert completed("freshet", "run", "x.yaml", "--set", "ps.sh") == ["ps.shards="]
    assert completed("freshet", "bench", "ta") == ["table"]
