"""The archive: its columns, and the job on a real broker and a real Flink cluster, a TaskManager killed."""

from collections import Counter
from pathlib import Path

import pytest

from pipelines.archive_columns import columns
from pipelines.settings import JoinJob
from tests.pipelines.archiving import (
    COMPACT_EVERY,
    HOUR_MS,
    START_MS,
    Writer,
    count,
    in_files,
    in_topic,
    running_cluster,
)
from tests.pipelines.conftest import JOB
from tests.waiting import PATIENCE_S, wait_for

HOURS = 600
GOLDEN = Path(__file__).parents[1] / "golden" / "archive_columns_v1.txt"


def described(job):
    return "".join(f"{name} {kind}\n" for name, kind in columns(job.schema_).items())


def test_the_columns_are_those_of_version_1(job):
    assert described(job) == GOLDEN.read_text()


def test_a_feature_that_is_called_like_one_of_our_columns_gives_way():
    schema = {
        "features": {
            "position": {"from": "context.rank"},
            "event_hour": {"from": "context.hour"},
            "item_id": {"from": "item.item_id"},
        },
        "labels": {"stars": {"action": "rate", "kind": "number"}},
    }
    found = columns(JoinJob.model_validate({**JOB, "schema": schema}).schema_)
    assert found["position"] == "INT"
    assert found["feature:position"] == found["feature:event_hour"] == "BIGINT"
    assert found["item_id"] == "STRING"
    assert "feature:item_id" not in found
    assert found["otherwise:stars"] == "FLOAT"


@pytest.fixture
def cluster(tmp_path):
    with running_cluster(tmp_path) as started:
        yield started


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_killed_task_manager_leaves_every_example_in_the_archive_once(cluster):
    import pandas as pd

    folder = cluster.run.path / "archive"
    task_manager = cluster.start_task_manager()
    cluster.submit()
    writer = Writer(cluster.job.kafka.bootstrap)
    writer.write(30)
    wait_for(lambda: count(folder), "the first files")
    seen = count(folder)
    while count(folder) == seen:
        writer.write(2)
    task_manager.kill()
    writer.write(30)
    cluster.start_task_manager()
    while not task_manager_has_returned(cluster):
        writer.write(2)
    writer.write(30)
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "the rest of the files")

    rows = in_files(folder)
    assert_rows_are_the_examples_of_the_topic(rows, expected)
    by_pandas = pd.read_parquet(folder)
    assert Counter(places(by_pandas)) == Counter(expected.keys())
    checkpoints = cluster.flink.rest.get(f"/jobs/{job_id(cluster)}/checkpoints")["counts"]["completed"]
    hours = len(list(folder.glob("*/*")))
    # One more each for the restart and for the rounds that have begun.
    assert len(list(folder.glob("*/*/compacted-*"))) <= hours * (checkpoints / COMPACT_EVERY + 3)

    # A stopped archive has all that it has read; a resumed one goes on there.
    writer.write(5)
    cluster.flink.begin_stop(is_embedded=True).wait(PATIENCE_S)
    assert not list(folder.glob("*/*/.part-*.parquet"))
    stopped = in_files(folder)
    in_order = stopped.sort_values(["partition", "sequence"])
    assert all(
        list(those["sequence"]) == list(range(len(those))) for _, those in in_order.groupby("partition")
    )
    cluster.submit(resume=True)
    writer.write(5)
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "what came after the stop")
    assert_rows_are_the_examples_of_the_topic(in_files(folder), expected)


def job_id(cluster):
    return cluster.flink.rest.live_job(cluster.flink.name)["jid"]


def task_manager_has_returned(cluster):
    """Whether the job has written a checkpoint since."""
    found = cluster.flink.rest.get(f"/jobs/{job_id(cluster)}/checkpoints")
    return found["latest"]["restored"] and (
        found["latest"]["completed"]["id"] > found["latest"]["restored"]["id"] + COMPACT_EVERY
    )


def places(rows):
    return zip(rows["topic"], rows["partition"], rows["offset"], rows["position"], strict=True)


def assert_rows_are_the_examples_of_the_topic(rows, expected):
    from pipelines.codec import decode_example

    assert Counter(places(rows)) == Counter(expected.keys())
    assert all(
        row.example == expected[place] for place, row in zip(places(rows), rows.itertuples(), strict=True)
    )
    for partition, those in rows.groupby("partition"):
        assert sorted(those["sequence"]) == list(range(len(those))), partition
        in_order = those.sort_values("sequence")
        assert list(places(in_order)) == sorted(places(those))
    for row in rows.to_dict("records"):
        example = decode_example(row["example"])
        assert row["event_day"].timestamp() + 3600 * int(row["event_hour"]) == example.ts_ms // HOUR_MS * 3600
        assert (row["request_id"], row["item_id"], row["ts"]) == (
            example.request_id,
            example.item_id,
            example.ts_ms,
        )
        assert row["label:click"] == example.labels["click"]
        assert row["mask:click_soon"] == example.masks["click_soon"]
        assert row["country"] == example.features["country"][0]
        assert row["price"] == example.features["price"][0]
        assert list(row["tags"] if row["tags"] is not None else []) == example.features.get("tags", [])
        assert row["scores"] == example.scores


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_a_backfill_of_more_hours_than_memory_holds_writers_for(cluster):
    """With a writer of Parquet for each, a TaskManager has not the memory for 200."""
    folder = cluster.run.path / "archive"
    writer = Writer(cluster.job.kafka.bootstrap, lambda number: START_MS + number % HOURS * HOUR_MS)
    writer.write(HOURS // 10)
    cluster.start_task_manager()
    cluster.submit()
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "the files")
    assert_rows_are_the_examples_of_the_topic(in_files(folder), expected)
    assert len(list(folder.glob("*/*"))) > 0.45 * HOURS
    assert cluster.flink.rest.root_cause(job_id(cluster)) is None
