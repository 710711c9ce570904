"""`freshet submit`, `stop` and `status` of a job file with an archive: two jobs on one cluster."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from jobs.archive import with_archive
from jobs.load import load_job
from jobs.stack.layout import RunDirectory
from tests.jobs.command import invoke
from tests.jobs.pretended_flink import Cluster, RefusedError
from tests.jobs.test_submit import CHECKPOINT, DEMO, KAFKA, NEW, SUBMITTED

ARCHIVE = ("--set", "joiner.archive.path=s3://b/examples")
NAME = "demo-archive"
FlinkRun = Callable[[str], list[list[str]]]


def on(cluster: Cluster, command: str, *arguments: str) -> tuple[int, str]:
    return invoke(command, DEMO, *KAFKA, *ARCHIVE, "--flink-master", cluster.address, *arguments)


def settings_of(command: list[str]) -> dict[str, Any]:
    """What it was submitted with."""
    found: dict[str, Any] = json.loads(Path(command[command.index("--settings") + 1]).read_text())
    return found


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


BACKFILL = (
    *("--set", "traffic={kind: none}"),
    *("--set", "joiner.input={kind: kafka, append: true, ends: {features: [1], actions: [1]}}"),
)


def test_a_backfill_and_its_archive_are_not_the_live_jobs(cluster: Cluster, flink_run: FlinkRun) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("RUNNING", completed=CHECKPOINT)
    cluster.add("RUNNING", name=NAME, completed=CHECKPOINT)
    status, output = on(cluster, "submit", "--detached", "--resume", *BACKFILL)
    assert status == 1
    assert "knows no checkpoint of 'demo-backfill'" in output
    status, output = on(cluster, "stop", *BACKFILL)
    assert status == 1
    assert "runs no job 'demo-backfill'" in output
    status, output = on(cluster, "submit", "--detached", "--json", *BACKFILL)
    assert status == 0, output
    told = json.loads(output)
    assert (told["job"], told["archive"]["job"]) == ("demo-backfill", "demo-backfill-archive")
    assert (told["is_new"], told["archive"]["is_new"]) == (True, True)
    assert [settings_of(command)["name"] for command in commands] == ["demo", "demo-backfill-archive"]
    assert cluster.told == []
    # Whoever pastes a dry run of the live joiner later finds its own settings still.
    folders = {Path(command[command.index("--settings") + 1]).parents for command in commands}
    assert all(Path.cwd() / "runs" / "demo-backfill" in above for above in folders)


def test_stop_of_a_backfill_stops_it_and_its_archive(cluster: Cluster) -> None:
    for name in ("demo", NAME, "demo-backfill", "demo-backfill-archive"):
        cluster.add("RUNNING", name=name)
    status, output = on(cluster, "stop", *BACKFILL)
    assert status == 0, output
    assert [job["state"] for job in cluster.jobs] == ["RUNNING"] * 2 + ["FINISHED"] * 2


@pytest.fixture(autouse=True)
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What pyarrow finds in every bucket of S3; elsewhere it finds no way."""

    class FileSystem:
        @staticmethod
        def from_uri(url: str) -> tuple[fs.FileSystem, str]:
            if not tmp_path.joinpath("bucket").exists():
                raise OSError("no way")
            return fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), url.replace(
                "s3://b/", "bucket/"
            )

    monkeypatch.setattr(fs, "FileSystem", FileSystem)
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


@pytest.mark.parametrize("how", [("--from-savepoint", "s3://b/1"), ("--resume",)])
@pytest.mark.parametrize("scheme", ["s3", "s3p"])
def test_an_archive_that_the_cluster_has_forgotten_is_not_written_again(
    cluster: Cluster, flink_run: FlinkRun, bucket: Path, how: tuple[str, ...], scheme: str
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("CANCELED", completed=CHECKPOINT)
    (bucket / "examples" / "event_day=2026-01-01").mkdir(parents=True)
    where = ("--set", f"joiner.archive.path={scheme}://b/examples")
    status, output = on(cluster, "submit", "--detached", *how, *where)
    assert status == 1
    assert f"{scheme}://b/examples holds an archive already" in output
    assert "--archive-from-savepoint PATH" in output
    elsewhere = ("--set", "joiner.archive.path=s3://b/other")
    status, output = on(cluster, "submit", "--detached", *how, *elsewhere)
    assert status == 0, output
    assert settings_of(commands[-1])["joiner"]["archive"]["path"] == "s3://b/other"


@pytest.mark.parametrize("path", ["s3://b/examples", "hdfs://n/examples"])
def test_where_no_archive_can_be_seen_only_one_that_is_new_begins(
    cluster: Cluster, flink_run: FlinkRun, bucket: Path, path: str
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    bucket.rmdir()
    where = ("--set", f"joiner.archive.path={path}")
    status, output = on(cluster, "submit", "--detached", *where)
    assert status == 0, output
    assert f"whether {path} is empty, this machine can't tell" in output
    for how in (("--from-savepoint", "s3://b/1"), ("--resume",)):
        cluster.jobs.clear()
        cluster.add("CANCELED", completed=CHECKPOINT)
        status, output = on(cluster, "submit", "--detached", *how, *where)
        assert status == 1
        assert "knows no checkpoint of 'demo-archive'" in output
        assert "--archive-from-savepoint PATH, or another, empty joiner.archive.path" in output
    # Twice the joiner, which goes on, and no archive.
    assert ["--archive" in command for command in commands] == [False, True, False, False]
    status, output = on(
        cluster, "submit", "--detached", "--resume", "--archive-from-savepoint", "s3://b/2", *where
    )
    assert status == 0, output
    assert restored(commands[-1]) == "s3://b/2"


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
