import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from jobs.cli.group import freshet

PROJECT = Path(__file__).parents[3]
DEMO = str(PROJECT / "jobs/demo.yaml")
FIVE = """\
name: Films
schema:
  features:
    user_id: {from: user.user_id, typ: int}
    hour: {from: context.hour, type: flot}
  crosses:
    both: {of: [user_id, huor]}
  labels:
    click: {action: click, window_s: 0}
"""


def test_a_job_that_is_right_has_status_0() -> None:
    result = CliRunner().invoke(freshet, ["validate", DEMO])
    assert result.exit_code == 0
    assert result.output == f"{DEMO}: all right: job demo, 5 features, 1 cross, 1 label, traffic simulated.\n"


def test_a_replay_without_a_path_is_right_and_says_what_to_add() -> None:
    result = CliRunner().invoke(freshet, ["validate", str(PROJECT / "jobs/kuairand.yaml"), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert (told["job"], told["problems"]) == ("kuairand", [])
    assert "--set traffic.path" in told["note"]


def test_five_mistakes_are_named_at_once_with_status_2(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(FIVE)
    command = [sys.executable, "-m", "jobs", "validate", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert (done.returncode, done.stdout) == (2, "")
    *lines, last = done.stderr.splitlines()
    assert [line.removeprefix(str(file)).split(": ")[:2] for line in lines] == [
        [":1:7", "name"],
        [":4:35", "schema.features.user_id.typ"],
        [":5:38", "schema.features.hour.type"],
        [":7:26", "schema.crosses.both.of[1]"],
        [":9:38", "schema.labels.click.window_s"],
    ]
    assert last == f"Error: 5 mistakes in {file}"
    assert "Traceback" not in done.stderr


def test_the_same_mistakes_as_json(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(FIVE)
    result = CliRunner().invoke(freshet, ["validate", str(file), "--json"])
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert told["error"] == f"5 mistakes in {file}"
    assert [each["suggestion"] for each in told["problems"]] == ["films", "type", "float", "hour", None]
    assert {each["line"] for each in told["problems"]} == {1, 4, 5, 7, 9}


def test_set_is_validated_as_well() -> None:
    result = CliRunner().invoke(freshet, ["validate", DEMO, "--set", "ps.shard=3"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --set ps.shard=3: ps.shard: is unknown; ps may have shards, ")
    assert "did you mean shards?" in result.stderr


def test_data_that_can_not_be_replayed_are_a_mistake(tmp_path: Path) -> None:
    file = str(PROJECT / "jobs/kuairand.yaml")
    result = CliRunner().invoke(freshet, ["validate", file, "--set", f"traffic.path={tmp_path}"])
    assert result.exit_code == 2
    assert f"{tmp_path} has neither impressions.parquet nor log_standard_*.csv" in result.stderr


def test_the_schema_is_json_schema() -> None:
    result = CliRunner().invoke(freshet, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.output)["properties"]["traffic"]
