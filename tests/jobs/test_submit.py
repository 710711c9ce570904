"""`freshet submit` and `freshet stop JOB.yaml` against a cluster that is played by a small server."""

import json
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from jobs.stack.rest import FlinkRest
from tests.jobs.command import invoke
from tests.jobs.pretended_flink import Cluster

DEMO = str(Path(__file__).parents[2] / "jobs" / "demo.yaml")
KAFKA = ("--set", "kafka.bootstrap=127.0.0.1:9092")
CHECKPOINT = {"external_path": "file:/flink/chk-7", "trigger_timestamp": 7}
NEW = f"{1:032x}"
SUBMITTED = "print('Job has been submitted with JobID', '{job_id}')"
REFUSED = """print('''org.apache.flink.client.program.ProgramInvocationException: an error
\tat org.apache.flink.client.cli.CliFrontend.main(CliFrontend.java:1323)
Caused by: java.io.FileNotFoundException: Cannot find checkpoint or savepoint file/directory '/no'
\tat org.apache.flink.runtime
Caused by: java.lang.RuntimeException: Python process exits with code: 1
\t... 15 more'''); raise SystemExit(1)"""
BROKEN = "raise ModuleNotFoundError('No module named pemja')"


def submit_to(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    return invoke("submit", DEMO, *KAFKA, "--flink-master", cluster.address, *arguments)


def status_on(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    return invoke("status", DEMO, *KAFKA, "--flink-master", cluster.address, *arguments)


def stop_on(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    return invoke("stop", DEMO, *KAFKA, "--flink-master", cluster.address, *arguments)


def test_it_ends_when_the_job_runs_and_says_its_id_and_its_page(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]]
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    original = cluster.answer

    def answer(method: str, path: str, body: Any) -> Any:
        told = original(method, path, body)
        if path == "/jobs/overview" and commands:
            # One more look, one more task that runs.
            cluster.jobs or cluster.add("RUNNING", running=0)
            cluster.jobs[0]["tasks"]["running"] = min(3, cluster.jobs[0]["tasks"]["running"] + 1)
        return told

    cluster.answer = answer  # type: ignore[method-assign]
    status, output = submit_to(cluster)
    assert status == 0, output
    assert cluster.jobs[0]["tasks"]["running"] == 3
    page = f"http://{cluster.address}/#/job/running/{NEW}/overview"
    assert output == f"demo runs on Flink at {cluster.address}: job {NEW}\n{page}\n"
    assert "-s" not in commands[0]


def test_detached_it_ends_when_the_job_is_taken(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]]
) -> None:
    flink_run(SUBMITTED.format(job_id=NEW))
    status, output = submit_to(cluster, "--detached", "--json")
    assert status == 0, output
    told = json.loads(output)
    assert (told["job_id"], told["state"]) == (NEW, "SUBMITTED")


@pytest.mark.parametrize(
    ("option", "path"),
    [(["--from-savepoint", "s3://b/savepoint-1"], "s3://b/savepoint-1"), (["--resume"], "file:/flink/chk-7")],
)
def test_it_goes_on_from_a_savepoint_or_from_what_the_cluster_knows(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]], option: list[str], path: str
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("FAILED", completed=CHECKPOINT)
    assert submit_to(cluster, "--detached", *option)[0] == 0
    assert commands[0][commands[0].index("-s") + 1] == path


def test_a_job_of_the_same_name_is_not_started_twice(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]]
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    job_id = cluster.add("RUNNING")
    status, output = submit_to(cluster)
    assert status == 1
    assert f"runs a job 'demo' already ({job_id})" in output
    assert f"freshet stop JOB.yaml --flink-master {cluster.address}" in output
    status, output = submit_to(cluster, "--resume", "--json")
    assert (status, json.loads(output)["is_new"]) == (0, False)
    assert commands == []


def test_a_job_that_the_cluster_has_known_joins_nothing_twice_by_accident(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]]
) -> None:
    commands = flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("CANCELED", completed=CHECKPOINT)
    status, output = submit_to(cluster, "--detached")
    assert status == 1
    assert "its newest checkpoint is file:/flink/chk-7: go on from it by --resume" in output
    assert commands == []
    assert submit_to(cluster, "--detached", "--anew")[0] == 0
    assert "-s" not in commands[0]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (REFUSED, "Cannot find checkpoint or savepoint file/directory '/no' (all of it: "),
        (BROKEN, "ModuleNotFoundError: No module named pemja (all of it: "),
        ("raise SystemExit(3)", "it says nothing (all of it: "),
    ],
)
def test_a_refused_job_is_told_with_the_cause_that_lies_deepest(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]], code: str, says: str
) -> None:
    flink_run(code)
    status, output = submit_to(cluster, "--run-dir", "here")
    assert status == 1
    assert says in output
    log = Path(output.rpartition("all of it: ")[2].strip().rstrip(")"))
    assert log == Path("here/logs/submit.log").resolve()
    assert log.exists()


def test_a_job_that_does_not_start_is_told_with_its_exception(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    flink_run(SUBMITTED.format(job_id=NEW))
    monkeypatch.setattr(submit, "_FAILING_S", 0.0)
    cluster.add("RESTARTING", running=1, name="demo of another name")
    cluster.exception = "java.lang.Exception: outer\nCaused by: java.io.IOException: no such topic"
    status, output = submit_to(cluster)
    assert status == 1
    assert f"the job ({NEW}) is restarting, 1 of 3 tasks run: java.io.IOException: no such topic." in output
    assert "`freshet stop JOB.yaml --cancel` ends it" in output


def test_a_job_that_has_no_slots_is_told_after_the_timeout(
    cluster: Cluster, flink_run: Callable[[str], list[list[str]]]
) -> None:
    flink_run(SUBMITTED.format(job_id=NEW))
    cluster.add("RUNNING", running=0, name="demo of another name")
    status, output = submit_to(cluster, "--timeout", "0.1")
    assert status == 1
    assert "0 of 3 tasks run: 1 slots are free; raise them, or lower joiner.parallelism" in output


def test_what_can_not_be_submitted_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    for arguments, says in (
        (["--flink-master", "127.0.0.1:1"], "kafka.bootstrap: is embedded"),
        ([*KAFKA], "--flink-master HOST:PORT"),
        ([*KAFKA, "--flink-master", "nonsense"], "joiner.flink_address: must be host:port"),
        ([*KAFKA, "--resume", "--anew"], "one of them says where to begin"),
        ([*KAFKA, "--resume", "--dry-run"], "name a checkpoint with --from-savepoint"),
    ):
        status, output = invoke("submit", DEMO, *arguments)
        assert status == 2
        assert says in output


def test_an_unreachable_cluster_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("submit", "stop"):
        status, output = invoke(command, DEMO, *KAFKA, "--flink-master", "127.0.0.1:9")
        assert status == 1
        assert "Flink does not answer: http://127.0.0.1:9/jobs/overview: Connection refused" in output


def test_a_dry_run_prints_what_a_shell_can_run_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASSWORD", "hunter2 ${x}")
    options = ["--flink-master", "flink:8081", "--from-savepoint", "s3://b/it's", "--run-dir", "a-place"]
    secret = ["--set", "kafka.client.sasl.password=${PASSWORD}", "--set", "joiner.state_url=s3://b/x"]
    status, output = invoke("submit", DEMO, *KAFKA, *secret, *options, "--dry-run")
    assert status == 0, output
    assert "hunter2" not in output
    words = shlex.split(output)
    assert [word.split("=")[0] for word in words[:2]] == ["FLINK_CONF_DIR", "FLINK_LIB_DIR"]
    assert words[2].endswith("bin/flink")
    assert words[3:9] == ["run", "-d", "-m", "flink:8081", "-s", "s3://b/it's"]
    assert "-Dexecution.checkpointing.dir=s3://b/x/checkpoints" in words
    settings = Path(words[words.index("--settings") + 1])
    assert settings.parent == Path("a-place/flink").resolve()
    assert settings.stat().st_mode & 0o077 == 0
    files = [word for word in words if word.startswith("/") and "flink-lib" not in word]
    assert all(Path(word).exists() for word in files)
    assert any("flink-sql-connector-kafka" in word for word in files)
    told = json.loads(settings.read_text())
    assert told["kafka"]["client"]["sasl.password"] == "hunter2 $${x}"


def test_a_place_where_the_scripts_of_flink_can_not_work_is_refused(tmp_path: Path) -> None:
    options = ["--flink-master", "flink:8081", "--run-dir", str(tmp_path / "a place")]
    status, output = invoke("submit", DEMO, *KAFKA, *options, "--dry-run")
    assert status == 2
    assert "a place: Flink's scripts take no path with a space in it; name another with --run-dir." in output


def test_stop_waits_for_the_savepoint_and_says_where_it_is(cluster: Cluster) -> None:
    job_id = cluster.add("RUNNING")
    status, output = stop_on(cluster)
    savepoint = "file:/flink/savepoint-9"
    assert (status, output) == (
        0,
        f"demo has stopped (job {job_id}); go on with --from-savepoint {savepoint}\n",
    )
    ((method, path, body),) = cluster.told
    assert (method, path) == ("POST", f"/jobs/{job_id}/stop")
    assert (body["targetDirectory"], body["drain"]) == (None, False)


def test_who_asks_after_a_stop_is_told_its_savepoint(cluster: Cluster) -> None:
    cluster.add("RUNNING", completed={"external_path": "file:/flink/chk-8", "trigger_timestamp": 8})
    stop_on(cluster)
    assert FlinkRest(cluster.address).newest_checkpoint("demo") == "file:/flink/savepoint-9"


def test_stop_puts_the_savepoint_where_the_job_file_says(cluster: Cluster) -> None:
    cluster.add("RUNNING")
    status, output = stop_on(cluster, "--set", "joiner.state_url=s3://b/x", "--json")
    assert status == 0, output
    assert json.loads(output)["savepoint"] == "file:/flink/savepoint-9"
    assert cluster.told[0][2]["targetDirectory"] == "s3://b/x/savepoints"


@pytest.mark.parametrize(
    ("savepoint", "says"),
    [
        (
            {"failure-cause": {"stack-trace": "a.Failure: x\nCaused by: a.DiskFull: no room"}},
            "a.DiskFull: no room",
        ),
        (None, "it was not done after 0.2 s"),
    ],
)
def test_a_savepoint_that_fails_is_told_and_what_ends_the_job_all_the_same(
    cluster: Cluster, savepoint: dict[str, Any] | None, says: str
) -> None:
    job_id, cluster.savepoint = cluster.add("RUNNING", completed=CHECKPOINT), savepoint
    status, output = stop_on(cluster, "--timeout", "0.2")
    assert status == 1
    assert f"'demo': no savepoint: {says}." in output
    assert "--cancel ends the job without one" in output
    status, output = stop_on(cluster, "--cancel")
    assert status == 0
    assert f"demo has stopped (job {job_id}); go on with --from-savepoint file:/flink/chk-7" in output


def test_a_cluster_that_refuses_to_stop_says_why_in_its_own_words(cluster: Cluster) -> None:
    cluster.add("RUNNING")
    cluster.refuses_to_stop = "Config key [state.savepoints.dir] is not set."
    status, output = stop_on(cluster)
    assert status == 1
    assert "Config key [state.savepoints.dir] is not set." in output


def test_stopping_what_does_not_run_is_no_success(cluster: Cluster) -> None:
    cluster.add("FINISHED")
    status, output = stop_on(cluster)
    assert (status, output) == (1, f"Error: Flink at {cluster.address} runs no job 'demo'.\n")
    assert invoke("stop", "demo", "--flink-master", cluster.address)[0] == 2


def test_status_of_a_submitted_joiner_is_its_state_and_what_it_tells(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.report.BETWEEN_LOOKS_S", 0.0)
    completed = {**CHECKPOINT, "latest_ack_timestamp": time.time() * 1000, "state_size": 5 << 20}
    job_id = cluster.add("RUNNING", completed=completed)
    status, output = status_on(cluster)
    assert status == 0, output
    headline, waiting, joins = output.splitlines()
    assert f"on Flink at {cluster.address} (job {job_id})" in headline
    assert re.search(r"checkpoint [0-9.e-]+ s ago, 5 MiB$", waiting)
    assert joins.startswith("joins       matched –")


def test_status_of_a_submitted_joiner_leads_with_what_is_wrong(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.cli.report.BETWEEN_LOOKS_S", 0.0)
    cluster.add("RESTARTING", running=0)
    endpoint = ("--set", "joiner.metrics_addresses=['127.0.0.1:9']")
    status, output = status_on(cluster, *endpoint, "--json")
    assert status == 1
    job, metrics = json.loads(output)["wrong"]
    assert job == "the job is restarting"
    assert metrics.startswith("flink-0 is unreachable")
    assert status_on(cluster, *endpoint)[1].startswith("✗ the job is restarting\n✗ flink-0 is unreachable")
    cluster.jobs.clear()
    assert status_on(cluster) == (1, f"Error: Flink at {cluster.address} runs no job 'demo'.\n")
    assert invoke("status", "demo", "--flink-master", cluster.address)[0] == 2
