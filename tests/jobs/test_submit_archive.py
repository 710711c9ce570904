"""`freshet submit`, `stop` and `status` of a job file with an archive: two jobs on one cluster."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.archive import with_archive
from jobs.load import load_job
from jobs.stack.layout import RunDirectory
from tests.jobs.pretended_flink import Cluster, RefusedError
from tests.jobs.test_submit import CHECKPOINT, DEMO, KAFKA, NEW, SUBMITTED, invoke

ARCHIVE = ("--set", "joiner.archive.path=s3://b/examples")
NAME = "demo-archive"
FlinkRun = Callable[[str], list[list[str]]]


def on(cluster: Cluster, command: str, *arguments: str) -> tuple[int, str]:
    return invoke(command, DEMO, *KAFKA, *ARCHIVE, "--flink-master", cluster.address, *arguments)


def restored(command: list[str]) -> str | None:
    return command[command.index("-s") + 1] if "-s" in command else None


def test_joiner_and_archive_are_submitted_one_after_the_other(cluster: Cluster, flink_run: FlinkRun) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    status, output = on(cluster, "submit", "--detached")
    assert status == 0, output
    assert output.count("has been submitted") == 2
    assert ["--archive" in command for command in commands] == [False, True]
    assert [restored(command) for command in commands] == [None, None]
    told = json.loads(on(cluster, "submit", "--detached", "--json")[1])
    assert (told["job"], told["archive"]["job"], told["archive"]["job_id"]) == ("demo", NAME, NEW)


def test_the_archive_goes_on_wherever_the_joiner_begins(cluster: Cluster, flink_run: FlinkRun) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("CANCELED", completed=CHECKPOINT)
    cluster.add("CANCELED", name=NAME, completed={**CHECKPOINT, "external_path": "s3://b/archive/chk-3"})
    assert on(cluster, "submit", "--detached", "--anew")[0] == 0
    assert [restored(command) for command in commands] == [None, "s3://b/archive/chk-3"]


def test_an_archive_that_runs_is_left_as_it_is(cluster: Cluster, flink_run: FlinkRun) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    job_id = cluster.add("RUNNING", name=NAME)
    status, output = on(cluster, "submit", "--detached", "--json")
    assert status == 0, output
    assert len(commands) == 1
    archive = json.loads(output)["archive"]
    assert (archive["job_id"], archive["is_new"]) == (job_id, False)


def test_the_archive_begins_at_its_own_savepoint(
    cluster: Cluster, flink_run: FlinkRun, tmp_path: Path
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    (tmp_path / "examples" / "event_day=2026-01-01").mkdir(parents=True)
    savepoints = ("--from-savepoint", "s3://b/1", "--archive-from-savepoint", "s3://b/2")
    here = ("--set", f"joiner.archive.path={tmp_path}/examples")
    status, output = on(cluster, "submit", "--detached", *savepoints, *here)
    assert status == 0, output
    assert [restored(command) for command in commands] == ["s3://b/1", "s3://b/2"]
    status, output = invoke("submit", DEMO, *KAFKA, "--flink-master", cluster.address, *savepoints)
    assert status == 2
    assert "the job file has no joiner.archive" in output


def test_the_joiner_is_told_though_the_archive_is_refused(cluster: Cluster, flink_run: FlinkRun) -> None:
    flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("RUNNING", name=NAME)
    status, output = on(cluster, "submit", "--detached", "--json", "--archive-from-savepoint", "s3://b/2")
    assert status == 1
    told, end = json.JSONDecoder().raw_decode(output)
    assert (told["job"], told["job_id"]) == ("demo", NEW)
    assert f"runs a job '{NAME}' already" in json.loads(output[end:])["error"]


def test_a_dry_run_prints_both_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--flink-master", "flink:8081", "--dry-run", "--archive-from-savepoint", "s3://b/2")
    state = ("--set", "joiner.state_url=s3://b/x")
    status, output = invoke("submit", DEMO, *KAFKA, *ARCHIVE, *options, *state)
    assert status == 0, output
    joiner, archive = map(shlex.split, output.splitlines())
    assert (restored(joiner), restored(archive)) == (None, "s3://b/2")
    assert "-Dexecution.checkpointing.dir=s3://b/x/archive/checkpoints" in archive
    assert "--archive" in archive
    settings = json.loads(Path(archive[archive.index("--settings") + 1]).read_text())
    assert (settings["name"], settings["joiner"]["archive"]["path"]) == (NAME, "s3://b/examples")
    told = json.loads(invoke("submit", DEMO, *KAFKA, *ARCHIVE, *options, *state, "--json")[1])
    assert [told["command"], told["archive_command"]] == output.splitlines()


def test_stop_stops_the_joiner_and_then_the_archive_each_with_a_savepoint(cluster: Cluster) -> None:
    joiner, archive = cluster.add("RUNNING"), cluster.add("RUNNING", name=NAME)
    status, output = on(cluster, "stop", "--set", "joiner.state_url=s3://b/x")
    assert status == 0, output
    savepoint = "file:/flink/savepoint-9"
    assert output == (
        f"demo has stopped (job {joiner}); go on with --from-savepoint {savepoint}\n"
        f"{NAME} has stopped (job {archive}); go on with --archive-from-savepoint {savepoint}\n"
    )
    told = [(path, body["targetDirectory"], body["drain"]) for _, path, body in cluster.told]
    assert told == [
        (f"/jobs/{joiner}/stop", "s3://b/x/savepoints", False),
        (f"/jobs/{archive}/stop", "s3://b/x/archive/savepoints", True),
    ]


@pytest.mark.parametrize("name", ["demo", NAME])
def test_stop_ends_the_one_that_runs(cluster: Cluster, name: str) -> None:
    cluster.add("RUNNING", name=name, completed=CHECKPOINT)
    status, output = on(cluster, "stop", "--cancel")
    assert status == 0, output
    assert output.startswith(f"{name} has stopped")
    assert len(output.splitlines()) == 1
    assert on(cluster, "stop")[0] == 1


def test_the_savepoint_of_the_joiner_is_told_though_the_archive_does_not_stop(cluster: Cluster) -> None:
    joiner, archive = cluster.add("RUNNING"), cluster.add("RUNNING", name=NAME)
    original = cluster.answer

    def answer(method: str, path: str, body: Any) -> Any:
        if path == f"/jobs/{archive}/stop":
            raise RefusedError("no room")
        return original(method, path, body)

    cluster.answer = answer  # type: ignore[method-assign]
    status, output = on(cluster, "stop")
    assert status == 1
    assert output.startswith(f"demo has stopped (job {joiner}); go on with --from-savepoint ")
    assert "'demo-archive': no savepoint: " in output
    assert "no room" in output


def test_status_tells_of_the_archive_too(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.cli.report.BETWEEN_LOOKS_S", 0.0)
    cluster.add("RUNNING")
    status, output = on(cluster, "status")
    assert status == 1
    assert output.startswith(f"✗ the archive ({NAME}) is not there: `freshet submit --resume` starts it")
    archive = cluster.add("RUNNING", name=NAME)
    status, output = on(cluster, "status")
    assert status == 0, output
    assert output.splitlines()[-1] == f"archive     running · no checkpoint yet (job {archive})"
    cluster.jobs[1]["state"] = "RESTARTING"
    status, output = on(cluster, "status", "--json")
    told = json.loads(output)
    assert (status, told["wrong"]) == (1, [f"the archive ({NAME}) is restarting"])
    assert told["archive"]["job_id"] == archive


def test_status_tells_of_an_archive_that_flink_still_initializes(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.report.BETWEEN_LOOKS_S", 0.0)
    cluster.add("RUNNING")
    archive = cluster.add("INITIALIZING", running=0, name=NAME)
    del cluster.checkpoints[archive]
    status, output = on(cluster, "status")
    assert status == 1
    assert output.startswith(f"✗ the archive ({NAME}) is initializing\n")
    assert output.splitlines()[-1] == f"archive     initializing · no checkpoint yet (job {archive})"


def test_places_of_archives_hold_wherever_a_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = load_job(Path(DEMO), ["joiner.archive.path=examples", "trainer.archive=examples"])
    found = with_archive(job, RunDirectory(tmp_path / "run"))
    assert found.joiner.archive is not None
    assert found.joiner.archive.path == found.trainer.archive == f"file://{tmp_path}/examples"
    job = load_job(Path(DEMO), ["joiner.archive={}", "trainer.archive=s3://bucket/examples"])
    found = with_archive(job, RunDirectory(tmp_path / "run"))
    assert found.joiner.archive is not None
    assert found.joiner.archive.path == f"file://{tmp_path}/run/archive"
    assert found.trainer.archive == "s3://bucket/examples"
