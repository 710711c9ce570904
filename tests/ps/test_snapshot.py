import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from ps.schedules import learning_rate
from ps.settings import OptimizerSettings, ScheduleSettings, TableSettings
from ps.snapshot import SnapshotError, SnapshotStore, UpdatesPosition

POSITION = UpdatesPosition(epoch=5, sequence=9, partition=1, offset=77)


@pytest.fixture
def trained(make_shard, make_push):
    """A shard with rows in every table, dense tensors, and marks."""
    shard = make_shard()
    shard.initialize_dense({"dense/kernel": np.ones((2, 3), np.float32), "bias": np.array(1, np.float32)})
    ids = np.arange(-20, 20, dtype=np.int64)
    tables = {
        name: (ids, np.ones((40, table.dim), np.float32))
        for name, table in shard.tables.items()
        if name != "hour"
    }
    dense = {"dense/kernel": np.ones((2, 3), np.float32)}
    shard.push(make_push(3, 8, tables=tables, dense=dense, event_ts_ms=1764000000000))
    shard.push(make_push(0, 4, [100], partition=2))
    return shard


def directories(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "shard-0").iterdir())


def test_a_restored_shard_is_the_same_and_learns_on_the_same(
    tmp_path, trained, make_shard, make_push, contents
):
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    written = store.write(trained, 5, POSITION)
    restored = make_shard()
    assert store.restore(restored) == written
    assert contents(restored) == contents(trained)
    for shard in (restored, trained):
        assert not shard.push(make_push(3, 8, [1]))
        assert shard.push(make_push(8, 9, [1, 500], dense={"bias": np.array(1, np.float32)}))
    assert contents(restored) == contents(trained)


def test_a_schedule_goes_on_where_it_was(tmp_path, make_shard, make_push, contents):
    schedule = ScheduleSettings(kind="cosine", warmup_steps=3, decay_steps=20)
    optimizer = OptimizerSettings(kind="sgd", schedule=schedule)
    options = {"tables": {"user": TableSettings(dim=3, optimizer=optimizer)}, "dense_optimizer": optimizer}
    shard, restored = make_shard(**options), make_shard(**options)
    shard.initialize_dense({"w": np.ones(2, np.float32)})

    def learn(learner, positions):
        for i in positions:
            learner.push(make_push(i, i + 1, [1], dense={"w": np.ones(2, np.float32)}))

    learn(shard, range(8))
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    assert store.write(shard, 5, None).steps == 8
    store.restore(restored)
    for learner in (shard, restored):
        learn(learner, [7, 8, 9])  # the first is a repeat, which is no step
    assert contents(restored) == contents(shard)
    rates = [learning_rate(optimizer, step) for step in range(10)]
    np.testing.assert_allclose(restored.dense()["w"], 1 - sum(rates), rtol=1e-5)


def test_an_empty_shard_and_wide_rows_survive_too(tmp_path, make_shard, contents):
    store = SnapshotStore(tmp_path.as_uri(), 0, keep=3)
    store.write(make_shard(), 5, None)
    restored = make_shard()
    store.restore(restored)
    assert contents(restored) == contents(make_shard())


def test_more_rows_than_a_row_group_survive(tmp_path, make_shard, contents):
    shard = make_shard()
    ids = np.arange(150_000, dtype=np.int64)
    shard.table("user").assign(ids, np.random.default_rng(1).normal(size=(len(ids), 3)).astype(np.float32))
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    store.write(shard, 5, None)
    restored = make_shard()
    store.restore(restored)
    np.testing.assert_array_equal(restored.table("user").lookup(ids), shard.table("user").lookup(ids))


def test_duckdb_reads_a_table(tmp_path, trained):
    SnapshotStore(str(tmp_path), 0, keep=3).write(trained, 5, None)
    query = f"""
        select id, embedding, len(state), last_update_ms, count
        from '{tmp_path}/shard-0/*/tables/user.parquet' where id = -3
    """
    ((row_id, embedding, state, last_update_ms, count),) = duckdb.sql(query).fetchall()
    assert row_id == -3
    assert embedding == trained.table("user").lookup(np.array([-3]))[0].tolist()
    assert (state, last_update_ms, count) == (3, 1764000000000, 1)


def test_the_newest_are_kept(tmp_path, trained):
    store = SnapshotStore(str(tmp_path), 0, keep=2)
    for _ in range(4):
        store.write(trained, 5, None)
    assert directories(tmp_path) == ["000000000003", "000000000004"]


def test_one_that_was_not_finished_is_no_snapshot_and_is_cleared_away(
    tmp_path, trained, make_shard, contents, monkeypatch
):
    store = SnapshotStore(str(tmp_path), 0, keep=2)
    store.write(trained, 5, None)
    before = contents(trained)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ps.snapshot.write_tensors", full_disk)
        with pytest.raises(OSError, match="No space left"):
            store.write(trained, 5, None)
    restored = make_shard()
    store.restore(restored)
    assert contents(restored) == before
    store.write(trained, 5, None)
    assert directories(tmp_path) == ["000000000001", "000000000002"]


FILES = ["manifest.json", "dense.parquet", "dense-state.parquet", "tables/user.parquet"]


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["gone", "cut short", "one bit"])
def test_a_damaged_snapshot_is_refused_with_a_sentence_and_the_one_before_taken(
    tmp_path, trained, make_shard, make_push, contents, caplog, file, how
):
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    store.write(trained, 5, None)
    before = contents(trained)
    trained.push(make_push(8, 9, [1]))
    store.write(trained, 5, None)
    damage(tmp_path / "shard-0" / "000000000002" / file, how)
    restored = make_shard()
    store.restore(restored)
    assert contents(restored) == before
    assert "000000000002 is damaged" in caplog.text


def test_when_all_are_damaged_nothing_is_guessed(tmp_path, trained, make_shard):
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    store.write(trained, 5, None)
    damage(tmp_path / "shard-0" / "000000000001" / "manifest.json", "one bit")
    with pytest.raises(SnapshotError, match=r"all 1 snapshots in .* are damaged: put a good one there"):
        store.restore(make_shard())


def test_without_snapshots_there_is_nothing_to_restore(tmp_path, make_shard):
    assert SnapshotStore(str(tmp_path), 0, keep=3).restore(make_shard()) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 2}, "its number of shards is 1, this job's is 2"),
        ({"seed": 8}, "its seed is 7, this job's is 8"),
        ({"tables": {}}, "its dim of table 'user' is 3, this job's is None"),
        ({"tables": {"user": TableSettings(dim=4)}}, "its dim of table 'user' is 3, this job's is 4"),
        ({"dense_optimizer": OptimizerSettings(kind="sgd")}, "dense tensors is adam, this job's is sgd"),
        (
            {"tables": {"user": TableSettings(dim=3, optimizer=OptimizerSettings(kind="sgd"))}},
            "its optimizer of table 'user' is adagrad, this job's is sgd",
        ),
    ],
)
def test_a_snapshot_of_another_job_is_refused(tmp_path, make_shard, make_push, options, message):
    shard = make_shard(tables={"user": TableSettings(dim=3)})
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    store.write(shard, 5, None)
    with pytest.raises(SnapshotError, match=message):
        store.restore(make_shard(**{"tables": {"user": TableSettings(dim=3)}} | options))


def test_a_format_from_the_future_is_refused(tmp_path, trained, make_shard, monkeypatch):
    store = SnapshotStore(str(tmp_path), 0, keep=3)
    monkeypatch.setattr("ps.snapshot.FORMAT_VERSION", 2)
    store.write(trained, 5, None)
    monkeypatch.undo()
    with pytest.raises(SnapshotError, match="of format 2: this Freshet reads 1"):
        store.restore(make_shard())


def test_the_manifest_says_what_there_is(tmp_path, trained):
    SnapshotStore(str(tmp_path), 0, keep=3).write(trained, 5, POSITION)
    manifest = json.loads((tmp_path / "shard-0" / "000000000001" / "manifest.json").read_text())["manifest"]
    assert manifest["marks"] == {"0": 8, "2": 4}
    assert manifest["updates"] == {"epoch": 5, "sequence": 9, "partition": 1, "offset": 77}
    assert manifest["tables"]["user"]["rows"] == 41
    assert manifest["tables"]["item/id"]["file"]["path"] == "tables/item%2Fid.parquet"


def test_after_a_snapshot_that_failed_half_way_the_next_is_whole(
    tmp_path, trained, make_shard, contents, monkeypatch
):
    store = SnapshotStore(str(tmp_path), 0, keep=3)

    def fail(files, path, chunks, dim):
        next(chunks)
        raise OSError("No space left on device")

    failing = pytest.raises(OSError, match="No space left")
    with monkeypatch.context() as patch, failing as raised:
        patch.setattr("ps.snapshot._write_rows", fail)
        store.write(trained, 5, None)
    store.write(trained, 5, None)
    restored = make_shard()
    store.restore(restored)
    assert contents(restored) == contents(trained)
    del raised  # the error, which held on to everything, until here
