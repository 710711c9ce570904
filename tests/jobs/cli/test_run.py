import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from jobs.spec import Job
from tests.jobs.command import invoke

JOBS = Path(__file__).parents[3] / "jobs"
DEMO, KUAIRAND = str(JOBS / "demo.yaml"), str(JOBS / "kuairand.yaml")


class Options(NamedTuple):
    run_dir: Path | None
    for_s: float | None
    until_drained: bool
    summary: Path | None
    resume: bool
    is_json: bool


class Started:
    """What would have been started."""

    def __init__(self) -> None:
        self.runs: list[tuple[Job, Options]] = []
        self.roles: list[tuple[Job, str, int, Path, bool]] = []
        self.status = 0

    def run(self, job: Job, options: Options) -> int:
        self.runs.append((job, options))
        return self.status

    def run_role(self, *arguments: Any) -> None:
        self.roles.append(arguments)  # type: ignore[arg-type]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    monkeypatch.chdir(tmp_path)
    here = Started()
    for name, content in (
        ("jobs.run", {"run": here.run, "RunOptions": Options}),
        ("jobs.roles", {"run_role": here.run_role}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return here


def test_run_starts_the_loop_with_its_options(started: Started) -> None:
    options = (
        "--for",
        "2m",
        "--until-drained",
        "--summary",
        "s.json",
        "--resume",
        "--run-dir",
        "d",
        "--json",
    )
    assert invoke("run", DEMO, "--set", "ps.shards=4", *options) == (0, "")
    ((job, given),) = started.runs
    assert (job.name, job.ps.shards) == ("demo", 4)
    assert given == Options(Path("d"), 120.0, True, Path("s.json"), True, True)


def test_the_exit_status_is_that_of_the_run(started: Started) -> None:
    started.status = 1
    assert invoke("run", DEMO)[0] == 1


def test_a_mistake_in_the_file_starts_nothing(started: Started) -> None:
    status, output = invoke("run", DEMO, "--set", "ps.shards=0")
    assert status == 2
    assert "--set ps.shards=0: ps.shards: must be a whole number" in output
    assert started.runs == []


def test_a_replay_without_its_data_starts_nothing(started: Started, tmp_path: Path) -> None:
    for more in ([], ["--set", f"traffic.path={tmp_path}/none"]):
        status, output = invoke("run", KUAIRAND, *more)
        assert status == 2
        assert "traffic.path" in output
    assert started.runs == []


@pytest.mark.parametrize("duration", ["0", "-1", "x", "5d", ""])
def test_a_duration_that_is_none_is_bad_input(started: Started, duration: str) -> None:
    assert invoke("run", DEMO, "--for", duration)[0] == 2


def test_a_role_is_started_alone(started: Started) -> None:
    assert invoke("run", DEMO, "--role", "ps", "--index", "1", "--run-dir", "d/e", "--resume")[0] == 0
    ((job, *rest),) = started.roles
    assert (job.name, rest) == ("demo", ["ps", 1, Path("d/e"), True])
    assert Path("d/e").is_dir()


def test_a_role_of_a_replay_does_not_need_the_data(started: Started) -> None:
    assert invoke("run", KUAIRAND, "--role", "ps")[0] == 0
    assert started.roles[0][1:] == ("ps", 0, Path("runs/kuairand"), False)


def test_an_index_that_the_job_does_not_have_is_bad_input(started: Started) -> None:
    status, output = invoke("run", DEMO, "--role", "ps", "--index", "2")
    assert (status, output) == (2, "Error: --index 2: the job has 2 of role ps, so 0 to 1.\n")
    assert invoke("run", DEMO, "--role", "dashboard", "--index", "1")[0] == 2
    assert started.roles == []


@pytest.mark.parametrize(
    "arguments", [["--index", "1"], ["--role", "ps", "--for", "3"], ["--role", "shard"], ["--nonsense"]]
)
def test_options_that_do_not_go_together_are_bad_input(started: Started, arguments: list[str]) -> None:
    assert invoke("run", DEMO, *arguments)[0] == 2
    assert started.runs == started.roles == []


def test_replay_starts_traffic_alone_against_the_addresses_of_the_file(
    started: Started, tmp_path: Path
) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    addresses = ["kafka.bootstrap=k:1", "serving.addresses=['s:1']", "traffic.metrics_address=m:1"]
    arguments = [str(JOBS / "movietweetings.yaml"), "--set", f"traffic.path={tmp_path}/ratings.csv"]
    for address in addresses:
        arguments += ["--set", address]
    assert invoke("replay", *arguments)[0] == 0
    ((job, *rest),) = started.roles
    assert rest == ["traffic", 0, Path("runs/movietweetings-replay"), False]
    assert (job.traffic.kind, job.traffic.metrics_address) == ("replay", "m:1")


def test_replay_leaves_the_address_of_a_runs_own_traffic_alone(started: Started, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    file = tmp_path / "job.yaml"
    text = (JOBS / "movietweetings.yaml").read_text()
    file.write_text(
        text.replace("  kind: replay", "  kind: none\n  metrics_address: m:1")
        + "kafka: {bootstrap: 'k:1'}\nserving: {addresses: ['s:1']}\n"
    )
    assert invoke("replay", str(file), "--set", f"traffic.path={tmp_path}")[0] == 0
    assert started.roles[0][0].traffic.metrics_address is None


def test_replay_without_a_running_loop_says_where_to_find_one(started: Started, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    file = str(JOBS / "movietweetings.yaml")
    status, output = invoke("replay", file, "--set", f"traffic.path={tmp_path}", "--json")
    assert status == 2
    assert "runs/NAME-latest/job.yaml" in json.loads(output)["error"]
