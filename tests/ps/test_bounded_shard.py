"""Bounds survive a restart: the same pushes come to the same rows, and no removal is lost."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest
from pyarrow import flight

from ps.client import Push, Span
from ps.dense_files import DenseFiles
from ps.metrics import ShardMetrics
from ps.settings import AdmissionSettings, ExpirySettings, OptimizerSettings, SyncSettings, TableSettings
from ps.shard import Shard
from ps.snapshot import SnapshotError, SnapshotStore
from ps.sync import UpdatePublisher
from serving.tables import Tables

HOUR_MS = 3_600_000
GOLDEN_STATE = ["f9de36f35a1347ad", "87aab1df3ec8898f", "a75af71f74e829fe"]
NOW_MS = 1_764_000_000_000
TABLES = {
    "counted": TableSettings(
        dim=2, admission=AdmissionSettings(min_count=3, window_s=20_000, tracked_ids=2000), max_rows=150
    ),
    "chance": TableSettings(
        dim=1,
        admission=AdmissionSettings(probability=0.3),
        expiry=ExpirySettings(after_s=1800),
        max_rows=400,
        when_full="least_frequent",
    ),
    "free": TableSettings(dim=1),
}


@pytest.fixture
def make_bounded():
    def make(tables: dict[str, TableSettings] = TABLES) -> Shard:
        return Shard(0, 1, tables, OptimizerSettings(), 7)

    return make


def push(i: int) -> Push:
    """The i-th push of a stream in which ids come back, more rarely the larger they are."""
    ids = np.unique((np.random.default_rng(i).pareto(0.7, 300) * 20).astype(np.int64) % 5000)
    tables = {name: (ids, np.ones((len(ids), t.dim), np.float32)) for name, t in TABLES.items()}
    return Push((Span(0, i, i + 1),), tables, event_ts_ms=NOW_MS + i * HOUR_MS // 15)


def counts(shard: Shard) -> dict[str, Any]:
    return {name: shard.table(name).bounds_counts() for name in TABLES}


@pytest.mark.parametrize("at", [5, 40, 77])
def test_after_a_restore_the_same_pushes_come_to_the_same_rows(tmp_path, make_bounded, contents, at):
    undisturbed = make_bounded()
    for i in range(120):
        undisturbed.push(push(i))
    shard, store = make_bounded(), SnapshotStore(str(tmp_path), 0, keep=1)
    for i in range(at):
        shard.push(push(i))
    store.write(shard, 5, None)
    restored = make_bounded()
    store.restore(restored)
    for i in range(120):
        restored.push(push(i))
    assert contents(restored) == contents(undisturbed)
    seen = counts(undisturbed)
    assert min(seen["counted"].refused, seen["counted"].evicted, seen["chance"].expired) > 100
    assert seen["chance"].evicted > 0


def test_two_runs_of_the_same_pushes_come_to_the_same_rows(make_bounded, contents):
    """Although their rows lie elsewhere: places are random in every process."""
    first, second = make_bounded(), make_bounded()
    for i in range(100):
        for shard in (first, second):
            shard.push(push(i))
    assert contents(first) == contents(second)


def test_what_the_bounds_remember_is_the_same_bytes_everywhere(make_bounded):
    """A snapshot of version 1 must be understood for ever."""
    table = make_bounded().table("counted")
    for i in range(60):
        ids = np.arange(100, dtype=np.int64) * (i + 1) % 499
        table.apply_gradients(ids, np.ones((100, 2), np.float32), NOW_MS + 1000 * i)
    state = table.bounds_state()
    digests = [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in state]
    assert digests == GOLDEN_STATE
    assert state.numbers[:3].tolist() == [60, 0, 0]


def test_a_repeated_push_is_no_sighting(make_bounded):
    shard = make_bounded()
    for _ in range(5):
        shard.push(push(0))
    assert len(shard.table("counted")) == 0


def test_replicas_lose_every_row_that_the_shard_removes(tmp_path, make_bounded, broker):
    shard = make_bounded()
    publisher = UpdatePublisher(shard, broker, "updates", SyncSettings(), DenseFiles(str(tmp_path), 0), 1)
    replica = Tables.empty(TABLES, 7)
    for i in range(100):
        shard.push(push(i))
        if i % 9 == 0:
            assert publisher.publish()
    publisher.publish()
    for update in broker.log:
        replica.apply(update)
    assert sum(len(ids) for update in broker.log for ids in update.deleted.values()) > 100
    ids = np.arange(5000, dtype=np.int64)
    for name in TABLES:
        table, copy = shard.table(name), replica._tables[name]
        assert np.array_equal(copy.contains(ids), table.contains(ids))
        assert np.array_equal(copy.lookup(ids), table.lookup(ids))


@pytest.mark.parametrize("failure", ["never taken", "not acknowledged", "restored, never taken"])
def test_a_removal_that_replicas_have_not_heard_of_survives_a_restart(
    tmp_path, make_bounded, broker, failure
):
    store = SnapshotStore(str(tmp_path), 0, keep=1)
    shard, dense = make_bounded(), DenseFiles(str(tmp_path), 0)
    publisher = UpdatePublisher(shard, broker, "updates", SyncSettings(), dense, 1)
    shard.push(push(0))
    publisher.publish()
    published = set(broker.log[-1].rows["free"][0].tolist())
    gone = np.array(sorted(published)[:3])
    shard.table("counted").assign(gone, np.zeros((3, 2), np.float32))
    publisher.publish()
    shard.table("counted").remove(gone)
    if failure == "not acknowledged":
        broker.failures = iter(["broker is down"] * 9)
        assert not publisher.publish()
    store.write(shard, 5, None)
    if failure == "restored, never taken":
        between = make_bounded()
        store.restore(between)
        UpdatePublisher(between, broker, "updates", SyncSettings(), dense, 2)
        store.write(between, 6, None)
    restored = make_bounded()
    store.restore(restored)
    broker.failures = iter([None] * 9)
    publisher = UpdatePublisher(restored, broker, "updates", SyncSettings(), dense, 3)
    publisher.publish()
    assert broker.log[-1].deleted["counted"].tolist() == gone.tolist()
    store.write(restored, 7, None)
    file = next(tmp_path.glob("shard-0/*/bounds/counted.parquet"))
    assert pq.read_table(file).column("removed")[0].as_py() == []


def test_changed_settings_of_admission_count_anew_and_say_so(tmp_path, make_bounded, caplog):
    shard, store = make_bounded(), SnapshotStore(str(tmp_path), 0, keep=1)
    for i in range(2):
        shard.push(push(0 if i == 0 else 1))
    store.write(shard, 5, None)
    changed = TABLES | {"counted": TableSettings(dim=2, admission=AdmissionSettings(min_count=4))}
    restored = make_bounded(changed)
    store.restore(restored)
    assert "table 'counted': admission has other settings now and counts anew" in caplog.text
    for i in range(2, 5):
        restored.push(push(i))
    assert len(restored.table("counted")) == 0


@pytest.mark.parametrize("direction", ["on", "off"])
def test_bounds_can_be_turned_on_and_off_between_lives(tmp_path, make_bounded, contents, direction):
    free = {name: TableSettings(dim=table.dim) for name, table in TABLES.items()}
    before, after = (free, TABLES) if direction == "on" else (TABLES, free)
    shard, store = make_bounded(before), SnapshotStore(str(tmp_path), 0, keep=1)
    for i in range(20):
        shard.push(push(i))
    store.write(shard, 5, None)
    restored = make_bounded(after)
    store.restore(restored)
    assert contents(restored) == contents(shard)
    for i in range(20, 40):
        restored.push(push(i))
    assert direction == "off" or len(restored.table("counted")) == 150


def test_bounds_of_other_rows_are_refused(tmp_path, make_bounded, monkeypatch):
    shard, store = make_bounded(), SnapshotStore(str(tmp_path), 0, keep=1)
    for i in range(20):
        shard.push(push(i))
    store.write(shard, 5, None)
    restore_rows = Shard.restore_rows
    monkeypatch.setattr(
        Shard,
        "restore_rows",
        lambda shard, name, rows: restore_rows(shard, name, replace(rows, ids=rows.ids + 9999)),
    )
    with pytest.raises(SnapshotError, match="table 'chance': the state of the bounds does not list the rows"):
        store.restore(make_bounded())


def test_metrics_count_what_the_bounds_do(make_bounded):
    shard = make_bounded()
    for i in range(100):
        shard.push(push(i))
    counted, chance = counts(shard)["counted"], counts(shard)["chance"]
    text = generate_latest(ShardMetrics(shard).registry).decode()
    for line in [
        f'freshet_ps_admitted_ids_total{{table="counted"}} {counted.admitted}.0',
        f'freshet_ps_refused_sightings_total{{reason="admission",table="counted"}} {counted.refused}.0',
        f'freshet_ps_removed_rows_total{{reason="evicted",table="counted"}} {counted.evicted}.0',
        f'freshet_ps_removed_rows_total{{reason="expired",table="chance"}} {chance.expired}.0',
        'freshet_ps_admission_overflows_total{table="counted"} 0.0',
        'freshet_ps_admitted_ids_total{table="free"} 0.0',
    ]:
        assert line in text.splitlines()


def ask(address: str, options: dict[str, Any]) -> dict[str, Any]:
    with flight.connect(f"grpc://{address}") as client:
        action = flight.Action("expire", json.dumps(options).encode())
        return json.loads(next(iter(client.do_action(action))).body.to_pybytes())["tables"]


@pytest.mark.stack
def test_a_shard_says_what_a_policy_would_remove_and_removes_what_has_expired(shard_processes, connect):
    settings = {"dim": 3, "expiry": {"after_s": 1e6}, "max_rows": 100}
    (process,) = shard_processes(1, tables={"user": settings})
    shards = connect([process.address])
    for i in range(40):
        ids = np.array([i], np.int64)
        gradients = np.ones((1, 3), np.float32)
        shards.push(Push((Span(0, i, i + 1),), {"user": (ids, gradients)}, event_ts_ms=NOW_MS + i * HOUR_MS))
    fate = ask(process.address, {"dry_run": True})["user"]
    assert (fate["rows"], fate["would_remove"], fate["max_rows"]) == (40, 0, 100)
    fate = ask(process.address, {"dry_run": True, "after_s": 3600, "max_rows": 20})["user"]
    assert (fate["rows"], fate["would_remove"], fate["now_ms"]) == (40, 23, NOW_MS + 24 * HOUR_MS)
    assert len(fate["ids"]) == 20
    assert set(fate["ids"]) <= set(range(23))
    assert ask(process.address, {})["user"]["rows"] == 40
    for options in ({"after_s": 3600}, {"dry_run": True, "after_s": "x"}, {"unknown": 1}):
        with pytest.raises(flight.FlightError, match="expire: "):
            ask(process.address, options)
