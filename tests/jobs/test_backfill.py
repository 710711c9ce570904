"""A backfill: refused before it teaches anything twice, followed to its end, added up from its files."""

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.backfill import check_examples, check_files, with_ends, with_files
from jobs.errors import JobError
from jobs.follow import follow, has_gone_wrong, report
from jobs.run import Run, RunOptions
from jobs.spec import Job
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory
from jobs.stack.part import State
from jobs.summary.event_files import flink_name, read_files
from tests.films import films
from tests.jobs.pretended_flink import Cluster
from tests.jobs.topics import START_MS, Topics, example, request

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".deflate": zlib.compress,
    ".lz4": bytes,
}
"""What Flink does not unpack it reads as it is."""


class Backfill:
    """A job over files in a folder, with topics of its own."""

    def __init__(self, topics: Topics, folder: Path, flink_address: str) -> None:
        self.topics = topics
        self.folder, self.flink_address = folder / "a b", flink_address
        self.folder.mkdir()
        self.run = RunDirectory(folder / "run")
        self.run.create()

    def job(self, **more: Any) -> Job:
        places = {name: str(self.folder / name) for name in ("features", "actions")}
        joiner = {"flink_address": self.flink_address, "input": {"kind": "files", **places, **more}}
        return Job.model_validate(films(kafka=self.topics.kafka, joiner=joiner))

    def write(self, name: str, *events: dict[str, Any] | bytes) -> None:
        lines = [each if isinstance(each, bytes) else orjson.dumps(each) for each in events]
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        text = b"\n".join(lines)
        file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)

    def teach(self, number: int, item: int, label: float) -> None:
        self.topics.joined(number, example(number, item, label))


@pytest.fixture
def backfill(topics: Topics, tmp_path: Path, cluster: Cluster) -> Backfill:
    return Backfill(topics, tmp_path, cluster.address)


def beat(ts_ms: int) -> dict[str, Any]:
    return {"request_id": "", "item_id": 0, "action": "", "ts": ts_ms, "items": []}


def test_a_topic_that_has_examples_is_refused_and_named(backfill: Backfill) -> None:
    check_examples(backfill.job())
    backfill.teach(1, 10, 1.0)
    backfill.topics.flush()
    with pytest.raises(JobError) as refusal:
        check_examples(backfill.job())
    topic = backfill.topics.names["examples"]
    assert f"{topic} has examples already" in str(refusal.value)
    assert f"--set kafka.topics.examples={topic}-backfill" in str(refusal.value)
    check_examples(backfill.job(append=True))


def test_files_of_this_machine_have_to_be_there_for_a_cluster_of_this_machine(backfill: Backfill) -> None:
    job = with_files(backfill.job())
    check_files(job)
    here = job.model_copy(update={"joiner": job.joiner.model_copy(update={"flink_address": None})})
    with pytest.raises(JobError, match=r"joiner\.input\.features: .*features does not exist"):
        check_files(here)
    for name in ("features", "actions"):
        backfill.write(f"{name}/a.jsonl", b"")
    check_files(here)


def test_parquet_takes_along_what_reads_it(backfill: Backfill, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("joiner", "archive", "connector"):
        (backfill.folder / name).mkdir()
        (backfill.folder / name / f"{name}.jar").touch()
    monkeypatch.setattr("jobs.stack.flink.jars", lambda name: backfill.folder / name)
    lines = Flink(backfill.job(), backfill.run).run_command(None, is_embedded=False)
    rows = Flink(backfill.job(format="parquet"), backfill.run).run_command(None, is_embedded=False)
    assert [Path(jar).name for jar in lines[lines.index("--jars") + 1 :]] == ["joiner.jar", "connector.jar"]
    assert "archive.jar" in {Path(jar).name for jar in rows[rows.index("--jars") + 1 :]}


def test_the_sum_is_drawn_from_the_files_when_flink_has_finished(
    backfill: Backfill, cluster: Cluster
) -> None:
    backfill.write("features/0.jsonl", request(1, 10, 11), b"", b"{garbage", request(2, 10))
    backfill.write("features/1.jsonl.gz", request(1, 10, 11), request(3, 10, 11, ts_ms=START_MS + 60_000))
    click = {"request_id": "r-1", "item_id": 10, "action": "click", "ts": START_MS + 5}
    backfill.write("actions/0.jsonl", click, beat(START_MS + 50_000))
    backfill.topics.dead(f"file:{backfill.folder}/features/0.jsonl", b"{garbage", 3, "malformed")
    for number, item, label in ((1, 10, 1.0), (1, 11, 0.0), (2, 10, 0.0)):
        backfill.teach(number, item, label)
    backfill.topics.flush()
    told: list[str] = []
    summary = follow(
        backfill.job(), backfill.run, cluster.add("FINISHED", name="films-backfill"), told.append
    )
    accounting = summary["accounting"]
    assert [accounting[name] for name in ("in", "out", "dead", "waiting", "lost")] == [6, 3, 1, 2, 0]
    assert accounting["closes"]
    assert accounting["actions"]["closes"]
    assert not has_gone_wrong(summary)
    said = report(backfill.job(), summary)
    assert "6 = 3 + 0 + 0 + 1 + 2 (closes)" in said
    assert "malformed 1" in said
    assert "waiting: their windows end after the last event of one of the inputs" in said


def test_topics_are_read_to_the_ends_that_they_had_when_the_backfill_began(
    backfill: Backfill, cluster: Cluster
) -> None:
    def produce(number: int) -> None:
        backfill.topics.request(number, 10)
        backfill.topics.put("actions", orjson.dumps(beat(START_MS)))
        backfill.topics.flush()

    produce(1)
    kafka = backfill.job(kind="kafka", features=None, actions=None)
    begun = with_ends(kafka, backfill.run, resume=False)
    produce(2)
    assert begun == with_ends(kafka, backfill.run, resume=True)
    assert begun != with_ends(kafka, RunDirectory(backfill.run.path), resume=False)
    backfill.run.write_private(backfill.run.flink / "ends.json", begun.joiner.input.model_dump_json())
    summary = follow(kafka, backfill.run, cluster.add("FINISHED", name="films-backfill"), lambda _: None)
    accounting = summary["accounting"]
    assert (accounting["in"], accounting["waiting"], accounting["closes"]) == (1, 1, True)


def test_what_is_missing_after_the_end_is_lost(backfill: Backfill, cluster: Cluster) -> None:
    backfill.write("features/0.jsonl", request(1, 10), beat(START_MS + 60_000))
    backfill.write("actions/0.jsonl", beat(START_MS + 60_000))
    summary = follow(
        backfill.job(), backfill.run, cluster.add("FINISHED", name="films-backfill"), lambda _: None
    )
    assert summary["accounting"]["lost"] == 1
    assert has_gone_wrong(summary)
    assert "does NOT close: 1 lost" in report(backfill.job(), summary)


def test_a_cluster_that_forgets_the_backfill_is_not_waited_for_for_ever(
    backfill: Backfill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.follow._PATIENCE_S", 0.1)
    with pytest.raises(JobError, match="Flink does not tell of the backfill: it knows no job 1"):
        follow(backfill.job(), backfill.run, "1", lambda _: None)


def test_a_backfill_that_is_stopped_has_not_finished(backfill: Backfill, cluster: Cluster) -> None:
    earlier, later = ({"external_path": "file:/x", "trigger_timestamp": at} for at in (1, 2))
    stopped = cluster.add("FINISHED", name="films-backfill", completed=earlier, savepoint=later)
    flink = Flink(backfill.job(), backfill.run)
    assert not flink.has_finished()
    with pytest.raises(JobError, match="stopped with a savepoint; go on with it by --resume"):
        follow(backfill.job(), backfill.run, stopped, lambda _: None)
    cluster.add("FINISHED", name="films-backfill", completed=later, savepoint=earlier)
    assert flink.has_finished()


def test_a_finished_backfill_is_not_joined_again_by_a_resumed_run(
    backfill: Backfill, cluster: Cluster
) -> None:
    flink = Flink(backfill.job(), backfill.run)
    cluster.add("FINISHED", name="films-backfill")
    assert flink.has_finished()
    cluster.jobs.clear()
    assert flink.has_finished()
    assert flink.submission(is_embedded=True, resume=True) == ["true"]
    assert "run" in flink.submission(is_embedded=True, resume=False)
    assert not flink.has_finished()


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_backfill_that_fails_says_why(backfill: Backfill, cluster: Cluster, state: str) -> None:
    cluster.exception = "java.lang.Exception: x\nCaused by: java.io.IOException: file:/a holds no files"
    with pytest.raises(JobError, match=state.lower()) as failure:
        follow(backfill.job(), backfill.run, cluster.add(state, name="films-backfill"), lambda _: None)
    assert ("holds no files" in str(failure.value)) == (state == "FAILED")


def test_without_its_files_here_no_sum_is_drawn_but_all_is_well(backfill: Backfill, cluster: Cluster) -> None:
    told: list[str] = []
    summary = follow(
        backfill.job(), backfill.run, cluster.add("FINISHED", name="films-backfill"), told.append
    )
    assert "The sum can't be drawn" in told[-1]
    assert not has_gone_wrong(summary)
    assert "has finished" in report(backfill.job(), summary)


def test_a_finished_backfill_is_told_from_a_lost_job(backfill: Backfill, cluster: Cluster) -> None:
    flink = Flink(backfill.job(), backfill.run)
    assert not flink.has_finished()
    cluster.add("FINISHED", name="films-backfill")
    assert flink.has_finished()


@pytest.fixture
def noted(backfill: Backfill, monkeypatch: pytest.MonkeyPatch) -> Callable[[State], tuple[int, list[str]]]:
    """`noted(state)`: status and notes of a run that is interrupted while its joiner is in that state."""

    def end(state: State) -> tuple[int, list[str]]:
        screen, supervisor = MagicMock(), MagicMock()
        supervisor.parts = {"joiner": MagicMock(state=state)}
        job = backfill.job(features="s3a://bucket/features")
        run = Run(job, job, backfill.run, RunOptions(), supervisor, screen)
        monkeypatch.setattr(run, "_watch", MagicMock())
        monkeypatch.setattr(run, "_announce", lambda: None)
        monkeypatch.setattr("jobs.run.Drain", MagicMock())
        run._interrupts = state != State.STOPPED
        return run._phases(), [call.args[0] for call in screen.note.call_args_list]

    return end


def test_of_a_backfill_that_is_interrupted_no_sum_is_drawn(
    noted: Callable[[State], tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.run.summarize", None)
    status, notes = noted(State.READY)
    assert status == 1
    assert "The backfill is not through" in notes[-1]


def test_a_run_over_files_that_only_flink_reaches_ends_well(
    noted: Callable[[State], tuple[int, list[str]]],
) -> None:
    status, notes = noted(State.STOPPED)
    assert status == 0
    assert "The sum can't be drawn: s3a://bucket/features" in notes[-1]


@pytest.mark.parametrize("unit", ["ms", "us", None])
def test_rows_are_read_as_flink_reads_them(tmp_path: Path, unit: str | None) -> None:
    at = START_MS * (1000 if unit == "us" else 1)
    times = pa.array([at, None], pa.timestamp(unit) if unit else pa.int64())
    rows = {"value": ["{}", None], "timestamp": times, "partition": [1, None], "offset": [7, 8]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    (tmp_path / "_SUCCESS").touch()
    first, second = read_files(tmp_path.as_uri(), "parquet")
    assert (first.file, first.place, first.logged_ms, first.event) == (None, (1, 7), START_MS, b"{}")
    assert (second.place, second.logged_ms, second.event) == ((0, 2), None, None)
    assert second.file == f"file:{tmp_path}/a.parquet"


@pytest.mark.parametrize("suffix", PACKED)
def test_lines_are_unpacked_as_flink_unpacks_them(tmp_path: Path, suffix: str) -> None:
    lines = [b'{"ts": %d}' % number for number in range(3000)]
    (tmp_path / f"a.jsonl{suffix}").write_bytes(PACKED[suffix](b"\n".join(lines)))
    found = list(read_files(tmp_path.as_uri(), "json"))
    assert [(each.place, each.event) for each in found] == [((0, n), line) for n, line in enumerate(lines, 1)]


def test_a_file_system_that_only_flink_knows_is_an_error_of_its_files() -> None:
    with pytest.raises(OSError, match="s3a://bucket/x: this machine does not know what Flink knows"):
        next(read_files("s3a://bucket/x", "json"))


def test_places_are_named_as_flink_names_them() -> None:
    assert flink_name("s3://bucket/a/") == "s3://bucket/a"
    assert flink_name("hdfs://name:9000/a") == "hdfs://name:9000/a"
    assert flink_name("file:///a/b.jsonl") == "file:/a/b.jsonl"
    assert flink_name("file:////a//b #1?.jsonl") == "file:/a/b #1?.jsonl"
    assert flink_name("s3://bucket/a:///c") == "s3://bucket/a:/c"
    assert flink_name("/a//b/") == "/a/b"
