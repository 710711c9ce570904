"""A shard with a tier on disk: snapshots, updates, metrics, and a disk that is full."""

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from ps.cold_rows import DiskError
from ps.dense_files import DenseFiles
from ps.metrics import ShardMetrics
from ps.push import Push, Span
from ps.server import ShardProcess
from ps.service import ShardService
from ps.settings import DiskSettings, OptimizerSettings, SyncSettings, TableSettings
from ps.shard import Shard, ShardBrokenError
from ps.snapshot import SnapshotStore
from ps.sync import UpdatePublisher
from ps.wire import PullHeader, decode, encode
from serving.tables import Tables
from tests.ps import test_bounded_shard as bounded

DISK = DiskSettings(memory_bytes=64 << 20)
ADAM = OptimizerSettings(kind="adam")
TABLES = {"user": TableSettings(dim=3, disk=DISK), "item/id": TableSettings(dim=2, optimizer=ADAM, disk=DISK)}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def make_tiered(make_shard, tmp_path) -> Iterator[Callable[..., Shard]]:
    """A shard whose tables hold 20 rows in memory."""
    with ExitStack() as stack:

        def make(name: str = "a") -> Shard:
            shard = make_shard(tables=TABLES, state_dir=tmp_path / name)
            for table in shard.tables.values():
                table.hot_rows = 20
                stack.callback(table.close)
            return shard

        yield make


@pytest.fixture
def train(make_push) -> Callable[[Shard, int], None]:
    def run(shard: Shard, first: int) -> None:
        ids = np.random.default_rng(first).integers(0, 300, 100)
        tables = {name: (ids, np.ones((100, t.dim), np.float32)) for name, t in shard.tables.items()}
        shard.push(make_push(first, first + 1, tables=tables, event_ts_ms=first))

    return run


def rows_of(shard: Shard) -> dict[str, list[Any]]:
    return {
        name: sorted(zip(*(column.tolist() for column in table.items()), strict=True))
        for name, table in shard.tables.items()
    }


def test_a_restored_shard_is_the_same_within_its_limit_and_learns_on_the_same(make_tiered, train, tmp_path):
    shard, store = make_tiered(), SnapshotStore(str(tmp_path / "snapshots"), 0, keep=3)
    for first in range(10):
        train(shard, first)
    manifest = store.write(shard, 5, None)
    assert manifest.tables["user"].rows == len(shard.table("user")) > 10 * 20
    restored = make_tiered("b")
    store.restore(restored)
    assert rows_of(restored) == rows_of(shard)
    assert all(len(t) - t.rows.on_disk <= 20 for t in restored.tables.values())
    for each in (shard, restored):
        train(each, 10)
    assert rows_of(restored) == rows_of(shard)


def test_a_snapshot_fits_the_same_shard_without_a_disk(make_tiered, make_shard, train, tmp_path):
    shard, store = make_tiered(), SnapshotStore(str(tmp_path / "snapshots"), 0, keep=3)
    for first in range(5):
        train(shard, first)
    store.write(shard, 5, None)
    in_memory = make_shard(tables={n: s.model_copy(update={"disk": None}) for n, s in TABLES.items()})
    store.restore(in_memory)
    assert rows_of(in_memory) == rows_of(shard)


def test_updates_carry_all_rows_that_changed_wherever_they_lie(make_tiered, train):
    shard = make_tiered()
    for first in range(3):
        train(shard, first)
    changes = shard.take_changes({})
    for name, table in shard.tables.items():
        ids, rows = changes.rows[name]
        assert sorted(ids) == sorted(table.items()[0])
        np.testing.assert_array_equal(rows, table.lookup(ids))
    train(shard, 3)
    assert set(shard.take_changes({}).rows["user"][0]) == set(np.random.default_rng(3).integers(0, 300, 100))


def test_prometheus_is_told(make_tiered, train):
    shard = make_tiered()
    for first in range(3):
        train(shard, first)
    text = generate_latest(ShardMetrics(shard).registry).decode()
    table = shard.table("user")
    assert f'freshet_ps_disk_rows{{table="user"}} {table.rows.on_disk:.1f}' in text
    assert f'freshet_ps_promoted_rows_total{{table="user"}} {table.rows.promoted:.1f}' in text
    assert f'freshet_ps_demoted_rows_total{{table="user"}} {table.rows.demoted:.1f}' in text
    assert 'freshet_ps_disk_bytes{table="user"}' in text
    assert table.rows.on_disk > 0


def test_each_shard_has_its_share_of_the_memory(make_shard, tmp_path):
    with pytest.raises(ValueError, match=r"disk\.memory_bytes: a shard's part of a table needs 67108864"):
        make_shard(shards=2, tables=TABLES, state_dir=tmp_path)


def test_a_tier_needs_a_directory(make_shard):
    with pytest.raises(ValueError, match="disk: a directory for the rows is needed"):
        make_shard(tables=TABLES)


@pytest.fixture
def break_disk(monkeypatch) -> Callable[[], None]:
    def fail(*_: object) -> None:
        raise DiskError("rows on disk in /d can't be read: I/O error")

    return lambda: monkeypatch.setattr("ps.cold_rows.ColdRows.read", fail)


def test_a_cut_that_can_not_be_read_stops_the_shard_before_it_is_lost(
    make_tiered, train, break_disk, broker, tmp_path
):
    shard, stop = make_tiered(), threading.Event()
    store, sync = SnapshotStore(str(tmp_path / "snapshots"), 0, keep=3), SyncSettings()
    dense_files = DenseFiles(str(tmp_path / "snapshots"), 0)
    publisher = UpdatePublisher(shard, broker, "updates", sync, dense_files, 5)
    process = ShardProcess(shard, 5, store, publisher, ShardMetrics(shard), stop)
    train(shard, 0)
    break_disk()
    process._try_publish()
    assert stop.is_set()
    with pytest.raises(ShardBrokenError, match=r"I/O error"):
        shard.take_changes({})
    assert process.finish() == 1
    assert broker.log == []


def test_a_pull_that_can_not_be_read_stops_the_shard(make_tiered, train, break_disk):
    shard, broken = make_tiered(), []
    train(shard, 0)
    break_disk()
    service = ShardService(
        "grpc://127.0.0.1:0", shard, 1, ShardMetrics(shard), {}, lambda: broken.append(True)
    )
    ids = np.arange(300)
    header, _ = decode(service.answer(encode(PullHeader(tables=[("user", 300)]), [ids])))
    service.shutdown()
    vars(service).clear()
    assert (header.kind, broken) == ("broken", [True])
    assert "I/O error" in header.message


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from ps.push import Push, Span
from ps.settings import DiskSettings, OptimizerSettings, TableSettings
from ps.shard import Shard, ShardBrokenError

tables = {"user": TableSettings(dim=256, disk=DiskSettings(memory_bytes=64 << 20))}
shard = Shard(0, 1, tables, OptimizerSettings(), 7, state_dir=Path(sys.argv[1]))
table = shard.table("user")
table.hot_rows = 100
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for i in range(10_000):
    ids = np.arange(50 * i, 50 * (i + 1))
    try:
        shard.push(Push((Span(0, i, i + 1),), {"user": (ids, np.ones((50, 256), np.float32))}, {}))
    except ShardBrokenError as error:
        print(error)
        break
before = np.arange(50 * i)
assert table.contains(before).all() and (table.items()[3] == 1).all() and table.rows.on_disk > 1000
try:
    shard.state()
except ShardBrokenError:
    print("whole", shard.marks()[0] == i)
"""


def test_a_full_disk_stops_the_shard_with_a_sentence_and_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert "shard 0 broke in the middle of a push: " in done.stdout, done.stderr
    assert f"rows on disk in {tmp_path}/user can't be written: IO error: " in done.stdout
    assert done.stdout.endswith("whole True\n"), done.stderr


@pytest.mark.stack
def test_a_killed_shard_goes_on_from_its_snapshot_and_empties_its_directory(shard_processes, connect):
    table = {"dim": 1024, "optimizer": {"kind": "adam"}, "disk": {"memory_bytes": 64 << 20}}
    (process,) = shard_processes(1, tables={"user": table})
    shards = connect([process.address])

    def learn(position: int) -> None:
        ids = np.arange(500 * position, 500 * (position + 2))
        gradients = np.full((1000, 1024), position, np.float32)
        shards.push(Push((Span(0, position, position + 1),), {"user": (ids, gradients)}, {}))

    for position in range(10):
        learn(position)
    shards.snapshot()
    learnt, _ = shards.pull({"user": np.arange(5500)})
    learn(10)
    process.kill()
    process.start(resume=True)
    assert shards.marks() == [{0: 10}]
    (status,) = shards.status()
    assert status["rows"] == {"user": 5500}
    assert status["memory_bytes"]["user"] < 64 << 20
    np.testing.assert_array_equal(shards.pull({"user": np.arange(5500)})[0]["user"], learnt["user"])
    metrics = urllib.request.urlopen(process.metrics).read().decode()
    (on_disk,) = [
        line.split()[1] for line in metrics.splitlines() if line.startswith("freshet_ps_disk_rows{")
    ]
    assert float(on_disk) > 1000


BOUNDED = {name: settings.model_copy(update={"disk": DISK}) for name, settings in bounded.TABLES.items()}


@pytest.fixture
def make_bounded(make_shard, tmp_path) -> Iterator[Callable[..., Shard]]:
    """A shard whose tables have bounds, and hold 80 rows in memory."""
    with ExitStack() as stack:

        def make(name: str = "a") -> Shard:
            shard = make_shard(tables=BOUNDED, state_dir=tmp_path / name)
            for table in shard.tables.values():
                table.hot_rows = 80
                stack.callback(table.close)
            return shard

        yield make


def test_after_a_restore_the_same_pushes_come_to_the_same_rows_with_bounds(make_bounded, tmp_path):
    undisturbed, shard = make_bounded(), make_bounded("b")
    store = SnapshotStore(str(tmp_path / "snapshots"), 0, keep=1)
    for i in range(60):
        undisturbed.push(bounded.push(i))
    for i in range(40):
        shard.push(bounded.push(i))
    store.write(shard, 5, None)
    restored = make_bounded("c")
    store.restore(restored)
    for i in range(40, 60):
        restored.push(bounded.push(i))
    assert rows_of(restored) == rows_of(undisturbed)
    counts = {name: table.bounds_counts() for name, table in undisturbed.tables.items()}
    assert min(counts["counted"].refused, counts["counted"].evicted, counts["chance"].expired) > 100


def test_replicas_lose_every_row_that_goes_from_memory_or_disk(make_bounded, broker, tmp_path):
    shard, replica = make_bounded(), Tables.empty(BOUNDED, 7)
    dense_files = DenseFiles(str(tmp_path / "snapshots"), 0)
    publisher = UpdatePublisher(shard, broker, "updates", SyncSettings(), dense_files, 1)
    for i in range(50):
        shard.push(bounded.push(i))
        if i % 9 == 0:
            assert publisher.publish()
    publisher.publish()
    for update in broker.log:
        replica.apply(update)
    ids = np.arange(5000, dtype=np.int64)
    for name, table in shard.tables.items():
        copy = replica._tables[name]
        assert np.array_equal(copy.contains(ids), table.contains(ids))
        assert np.array_equal(copy.lookup(ids), table.lookup(ids))
    assert sum(len(ids) for update in broker.log for ids in update.deleted.values()) > 100


def test_a_removal_on_disk_that_replicas_have_not_heard_of_survives_a_restart(make_bounded, tmp_path):
    shard, store = make_bounded(), SnapshotStore(str(tmp_path / "snapshots"), 0, keep=1)
    table = shard.table("chance")
    table.assign(np.arange(200), np.ones((200, 1), np.float32))
    shard.take_changes({})
    gone = np.setdiff1d(np.arange(200), table.rows.hot.items()[0])[:5]
    assert table.remove(gone) == 5
    store.write(shard, 5, None)
    restored = make_bounded("b")
    store.restore(restored)
    assert set(gone) <= set(restored.take_touched()["chance"])
