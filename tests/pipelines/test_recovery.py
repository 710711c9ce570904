"""The newest checkpoint is known from the files alone."""

from pathlib import PurePosixPath
from unittest.mock import MagicMock

import pytest

from pipelines import recovery
from pipelines.recovery import Saved, saved_below


class Entry:
    """What Flink's file systems tell of a file or a folder."""

    def __init__(self, url, written_ms):
        self._url, self._written_ms = url, written_ms

    def getPath(self):  # noqa: N802
        return self

    def getName(self):  # noqa: N802
        return PurePosixPath(self._url).name

    def getModificationTime(self):  # noqa: N802
        return self._written_ms

    def __str__(self):
        return self._url


class Store:
    """Files by their URL, and when they were written."""

    def __init__(self, files):
        self._files = files

    def list(self, url):
        depth = len(url.split("/"))
        below = (file for file in self._files if file.startswith(f"{url}/"))
        names = sorted({"/".join(file.split("/")[: depth + 1]) for file in below})
        return [Entry(name, self._files.get(name, 0)) for name in names]


def newest(files):
    store = Store(files)
    found = [each for kind in ("checkpoints", "savepoints") for each in saved_below(store, f"s3://b/{kind}")]
    return max(found, default=None)


def test_without_any_there_is_none():
    assert newest({}) is None
    assert newest({"s3://b/checkpoints/job/shared/1": 9, "s3://b/checkpoints/job/chk-1/part": 9}) is None


def test_one_that_is_not_whole_does_not_count():
    files = {
        "s3://b/checkpoints/job/chk-9/_metadata": 100,
        "s3://b/checkpoints/job/chk-10/_metadata": 200,
        "s3://b/checkpoints/job/chk-11/part": 300,
    }
    assert newest(files) == Saved(200, False, 10, "s3://b/checkpoints/job/chk-10")


def test_the_job_that_went_on_comes_after_the_one_before_though_it_counts_anew():
    files = {
        "s3://b/checkpoints/before/chk-90/_metadata": 100,
        "s3://b/savepoints/savepoint-1/_metadata": 150,
        "s3://b/checkpoints/after/chk-1/_metadata": 200,
    }
    assert newest(files).url == "s3://b/checkpoints/after/chk-1"
    del files["s3://b/checkpoints/after/chk-1/_metadata"]
    assert newest(files).url == "s3://b/savepoints/savepoint-1"


def test_within_one_second_of_a_store_the_higher_number_is_newer_and_a_savepoint_newest():
    files = {f"s3://b/checkpoints/job/chk-{number}/_metadata": 1000 for number in (9, 10)}
    assert newest(files).url == "s3://b/checkpoints/job/chk-10"
    files["s3://b/savepoints/savepoint-1/_metadata"] = 1000
    assert newest(files).url == "s3://b/savepoints/savepoint-1"


def test_a_backfill_without_a_checkpoint_does_not_begin_anew(make_job, monkeypatch):
    monkeypatch.setattr(recovery, "Files", lambda options: Store({}))
    env = MagicMock()
    recovery.go_on(env, make_job())
    with pytest.raises(SystemExit, match="either this backfill has finished, or it has come to none"):
        recovery.go_on(env, make_job(input={"kind": "files", "features": "f", "actions": "a"}))
    env.configure.assert_not_called()
