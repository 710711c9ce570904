"""What is submitted to a Flink cluster of the user's own, which is played by a small server."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.archive import archive_job, with_archive
from jobs.errors import JobError
from jobs.load import load_job
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory
from tests.jobs.pretended_flink import Cluster

DEMO = Path(__file__).parents[3] / "jobs" / "demo.yaml"
CHECKPOINT = {"external_path": "file:/flink/chk-7", "trigger_timestamp": 7}
SAVEPOINT = {"external_path": "file:/flink/savepoint-8", "trigger_timestamp": 8}
RESTORED = {"external_path": "file:/flink/chk-1"}


@pytest.fixture
def flink(cluster: Cluster, tmp_path: Path) -> Flink:
    run = RunDirectory(tmp_path)
    run.create()
    return Flink(load_job(DEMO, [f"joiner.flink_address={cluster.address}"]), run)


def restored_from(command: list[str]) -> str | None:
    return command[command.index("-s") + 1] if "-s" in command else None


def checkpoints_of(command: list[str]) -> str:
    option = "-Dexecution.checkpointing.dir="
    return next(word.removeprefix(option) for word in command if word.startswith(option))


def test_a_job_that_is_new_starts_from_nothing(flink: Flink) -> None:
    command = flink.submission(is_embedded=False, resume=False)
    assert "run" in command
    assert restored_from(command) is None


@pytest.mark.parametrize(
    ("latest", "path"),
    [
        ({"completed": CHECKPOINT, "restored": RESTORED}, "file:/flink/chk-7"),
        ({"completed": CHECKPOINT, "savepoint": SAVEPOINT}, "file:/flink/savepoint-8"),
        ({"restored": RESTORED}, "file:/flink/chk-1"),
    ],
)
def test_a_resumed_job_goes_on_from_the_newest_that_the_cluster_knows(
    cluster: Cluster, flink: Flink, latest: dict[str, Any], path: str
) -> None:
    cluster.add("FINISHED", **latest)
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == path


def test_a_job_that_came_to_no_checkpoint_does_not_hide_those_of_the_one_before(
    cluster: Cluster, flink: Flink
) -> None:
    cluster.add("FINISHED", savepoint=SAVEPOINT)
    cluster.add("CANCELED")
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/savepoint-8"


def test_what_a_cluster_has_forgotten_was_remembered(cluster: Cluster, flink: Flink) -> None:
    cluster.add("RUNNING", completed=CHECKPOINT)
    flink.remember_checkpoint()
    cluster.jobs.clear()
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-7"


def test_a_resumed_job_does_not_go_back_to_what_it_once_began_with(cluster: Cluster, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create()
    overrides = [f"joiner.flink_address={cluster.address}", "joiner.restore_from=file:/flink/chk-1"]
    flink = Flink(load_job(DEMO, overrides), run)
    assert restored_from(flink.submission(is_embedded=False, resume=False)) == "file:/flink/chk-1"
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-1"
    cluster.add("FAILED", completed=CHECKPOINT)
    assert restored_from(flink.submission(is_embedded=False, resume=True)) == "file:/flink/chk-7"


def test_nothing_to_go_on_from_is_refused_rather_than_joined_twice(flink: Flink) -> None:
    with pytest.raises(JobError, match=r"--set joiner\.restore_from=PATH"):
        flink.submission(is_embedded=False, resume=True)


def test_a_job_that_runs_is_not_submitted_a_second_time(cluster: Cluster, flink: Flink) -> None:
    cluster.add("RUNNING")
    with pytest.raises(JobError, match="runs a job 'demo' already"):
        flink.submission(is_embedded=False, resume=False)
    assert flink.submission(is_embedded=False, resume=True) == ["true"]


def test_a_proxy_of_the_environment_is_not_asked(flink: Flink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert flink.rest.get("/jobs/overview") == {"jobs": []}


@pytest.fixture
def archive(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flink:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "parquet.jar").touch()
    monkeypatch.setattr("jobs.stack.flink.jars", lambda name: tmp_path / "jars")
    run = RunDirectory(tmp_path)
    run.create()
    overrides = [f"joiner.flink_address={cluster.address}", f"joiner.archive.path={tmp_path}/examples"]
    return Flink(archive_job(with_archive(load_job(DEMO, overrides), run)), run, is_archive=True)


def test_an_archive_is_a_job_of_its_own_that_brings_its_jars(archive: Flink, tmp_path: Path) -> None:
    command = archive.submission(is_embedded=False, resume=False)
    assert "--archive" in command
    assert f"{tmp_path}/jars/parquet.jar" in command[command.index("--jars") :]
    settings = json.loads(Path(command[command.index("--settings") + 1]).read_text())
    assert settings["joiner"]["archive"]["path"] == f"file://{tmp_path}/examples"
    assert settings["name"] == archive.name == "demo-archive"


def test_an_archive_goes_on_from_no_checkpoint_of_the_joiner(archive: Flink, tmp_path: Path) -> None:
    command = archive.submission(is_embedded=True, resume=True)
    assert "--resume" in command
    assert checkpoints_of(command) == f"file://{tmp_path}/flink/archive/checkpoints"


def test_an_archive_that_is_there_is_not_begun_a_second_time(archive: Flink, tmp_path: Path) -> None:
    (tmp_path / "examples" / "event_day=2026-01-01").mkdir(parents=True)
    with pytest.raises(JobError, match="holds an archive already"):
        archive.submission(is_embedded=False, resume=False)


def test_runs_that_keep_their_state_in_one_place_do_not_go_on_from_each_others(
    cluster: Cluster, tmp_path: Path
) -> None:
    overrides = [f"joiner.flink_address={cluster.address}", "joiner.state_url=s3://bucket/demo"]

    def submitted(name: str) -> str:
        run = RunDirectory(tmp_path / name / "run")
        run.create()
        return checkpoints_of(Flink(load_job(DEMO, overrides), run).submission(is_embedded=True, resume=True))

    first = submitted("a")
    assert first.startswith("s3://bucket/demo/run-")
    assert first.endswith("/checkpoints")
    assert submitted("a") == first != submitted("b")


def test_a_cluster_that_does_not_answer_is_not_taken_for_one_that_knows_nothing(
    cluster: Cluster, flink: Flink
) -> None:
    cluster.add("RUNNING", completed=CHECKPOINT)
    flink.remember_checkpoint()
    cluster.checkpoints.clear()
    with pytest.raises(JobError, match="does not answer"):
        flink.newest_of_cluster()
