"""What shards lose when they start again is lost on replicas, too."""

import itertools
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.dense_files import DenseFiles
from ps.push import Push, Span
from ps.router import shard_of
from ps.settings import InitializerSettings, OptimizerSettings, SyncSettings, TableSettings
from ps.shard import Shard, TableRows
from ps.sync import UpdatePublisher
from ps.updates import Update
from serving.lives import lost
from serving.parameters import FORMAT_VERSION, Parameters
from serving.progress import ShardProgress, Verdict, follow
from tests.memory_broker import MemoryBroker

ROOT = Path(__file__).parents[2]
SHARDS = 2
TABLES = {
    name: TableSettings(dim=2, initializer=InitializerSettings(kind="zeros")) for name in ("item", "user")
}
Rows = dict[tuple[str, int], list[float]]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """So that few rows are several slices."""
    monkeypatch.setattr("ps.sync.BACKLOG_ROWS", 3)
    monkeypatch.setattr("serving.lives._ROWS_PER_STEP", 2)


class Life:
    """Shard 0 of a run, from one start to the next."""

    def __init__(self, broker: MemoryBroker, directory: Path, epoch: int, rows: Rows) -> None:
        self.shard = Shard(0, SHARDS, TABLES, OptimizerSettings(), 7)
        for table in TABLES:
            found = {row_id: row for (name, row_id), row in rows.items() if name == table}
            values = np.array(list(found.values()), np.float32).reshape(-1, 2)
            state = np.zeros((len(found), self.shard.table(table).row_floats - 2), np.float32)
            ids, none = np.array(list(found), np.int64), np.zeros(len(found), np.int64)
            stored = TableRows(ids, np.hstack([values, state]), none, none.astype(np.uint32))
            self.shard.restore_rows(table, stored)
        files = DenseFiles(str(directory), 0)
        self.publisher = UpdatePublisher(self.shard, broker, "updates", SyncSettings(), files, epoch)
        self._pushes = itertools.count()

    def learn(self, table: str, ids: list[int]) -> None:
        first, ones = next(self._pushes), np.ones((len(ids), 2), np.float32)
        self.shard.push(Push((Span(0, first, first + 1),), {table: (np.array(ids, np.int64), ones)}))

    def rows(self) -> Rows:
        return {
            (name, row_id): row[:2]
            for name, table in self.shard.tables.items()
            for row_id, row in zip(*(each.tolist() for each in table.items()[:2]), strict=True)
        }


class Replica:
    """The replica's side but for Kafka: reads a log from where it was."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._start()

    def read(self, log: list[Update], messages: int = 1_000) -> list[Verdict]:
        begin, verdicts = self.parameters.offsets.get(0, 0), []
        for offset, update in list(enumerate(log))[begin : begin + messages]:
            before = self.parameters.progress.get(update.shard, ShardProgress())
            verdict, after = follow(before, update)
            applied = [update] if verdict in (Verdict.NEXT, Verdict.GAP) else []
            self.parameters.apply(applied, {update.shard: after}, {0: offset + 1})
            verdicts.append(verdict)
        return verdicts

    def sweep(self, steps: int = 1_000) -> None:
        while steps and self.parameters.sweep():
            steps -= 1

    def restart(self) -> None:
        self.parameters.close()
        self._start()

    def _start(self) -> None:
        self.parameters = Parameters(self._directory, TABLES, 7, {})
        self.parameters.follow_topic("a log", {0: 10**9})

    def stored(self) -> Rows:
        return {
            (piece.table, row_id): row
            for piece in self.parameters.store.rows()
            for row_id, row in zip(piece.ids.tolist(), piece.rows.tolist(), strict=True)
        }

    def answers(self) -> Rows:
        """What memory has, of the ids that tests use: those that do not read as initial values."""
        return {
            (table, row_id): row
            for table, rows in self.parameters.tables.lookup(dict.fromkeys(TABLES, IDS)).items()
            for row_id, row in zip(IDS.tolist(), rows.tolist(), strict=True)
            if any(row)
        }


IDS = np.array([row_id for row_id in range(40) if shard_of(np.array([row_id]), SHARDS)[0] == 0])
some_ids = st.lists(st.sampled_from(IDS.tolist()), min_size=1, max_size=5, unique=True)
failure = st.sampled_from([None, None, "broker away", "acknowledgement lost"])
event = st.one_of(
    st.tuples(st.just("learn"), st.sampled_from(list(TABLES)), some_ids),
    st.tuples(st.just("remove"), st.sampled_from(list(TABLES)), some_ids),
    st.tuples(st.just("publish"), failure),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("start again"), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 5)),
    st.tuples(st.just("sweep"), st.integers(1, 3)),
    st.tuples(st.just("restart the replica")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=40))
def test_however_shards_and_replicas_start_again_they_end_with_the_same_rows(events):
    with tempfile.TemporaryDirectory() as path:
        broker, directory = MemoryBroker(), Path(path)
        epochs, snapshot = itertools.count(1000, 10**9), {}
        life, replica = Life(broker, directory, next(epochs), {}), Replica(directory / "replica")
        for name, *arguments in events:
            match name, arguments:
                case "learn", (table, ids):
                    life.learn(table, ids)
                case "remove", (table, ids):
                    life.shard.table(table).remove(np.array(ids))
                case "publish", (how,):
                    broker.failures = itertools.repeat(how)
                    life.publisher.publish()
                case "snapshot", _:
                    snapshot = life.rows()
                case "start again", (anew,):
                    life = Life(broker, directory, next(epochs), {} if anew else snapshot)
                case "read", (messages,):
                    replica.read(broker.log, messages)
                case "sweep", (steps,):
                    replica.sweep(steps)
                case _:
                    replica.restart()
        broker.failures = itertools.repeat(None)
        while not (broker.log and broker.log[-1].complete and broker.log[-1].life == life.publisher._life):
            life.publisher.publish()
        life.publisher.publish()
        replica.read(broker.log)
        replica.sweep()
        assert replica.parameters.progress[0].gap is None
        assert replica.answers() == replica.stored() == life.rows()
        replica.parameters.close()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def replica(tmp_path):
    replica = Replica(tmp_path / "replica")
    yield replica
    replica.parameters.close()


def test_rows_that_a_snapshot_has_not_got_stay_until_the_rest_has_come(broker, replica, tmp_path):
    first = Life(broker, tmp_path, 1000, {})
    first.learn("item", IDS[:5].tolist())
    snapshot = first.rows()
    first.learn("item", IDS[5:9].tolist())
    first.publisher.publish()
    second = Life(broker, tmp_path, 10**9, snapshot)
    second.publisher.publish()
    replica.read(broker.log)
    replica.sweep()
    assert replica.answers() == first.rows()
    second.publisher.publish()
    replica.read(broker.log)
    replica.sweep()
    assert replica.answers() == replica.stored() == second.rows() == snapshot


def test_of_a_run_begun_anew_on_an_old_topic_a_new_replica_has_its_rows_only(broker, replica, tmp_path):
    old = Life(broker, tmp_path, 1000, {})
    old.learn("item", IDS.tolist())
    old.publisher.publish()
    new = Life(broker, tmp_path, 10**9, {})
    new.publisher.publish()
    new.learn("user", IDS[:6].tolist())
    new.publisher.publish()
    replica.read(broker.log)
    replica.sweep()
    assert replica.answers() == replica.stored() == new.rows()
    assert len(new.rows()) == 6
    old.learn("item", IDS.tolist())
    old.publisher.publish()
    assert replica.read(broker.log) == [Verdict.STALE]
    assert replica.answers() == new.rows()


def test_while_something_is_missing_no_row_is_dropped(broker, replica, tmp_path):
    first = Life(broker, tmp_path, 1000, {})
    first.learn("item", IDS[:8].tolist())
    first.publisher.publish()
    second = Life(broker, tmp_path, 10**9, first.rows())
    for _ in range(3):
        second.publisher.publish()
    assert broker.log[-1].complete
    replica.read([*broker.log[:2], *broker.log[3:]])
    replica.sweep()
    assert replica.parameters.progress[0].gap
    assert replica.answers() == first.rows()


def test_rows_of_other_shards_stay(broker, replica, tmp_path):
    other = np.setdiff1d(np.arange(40), IDS)
    ones = np.ones((len(other), 2), np.float32)
    update = Update(1, SHARDS, 5, 1, life=5, rows={"item": (other, ones)}, complete=True)
    replica.read([update])
    Life(broker, tmp_path, 1000, {}).publisher.publish()
    replica.read([update, *broker.log])
    replica.sweep()
    assert sorted(row_id for _, row_id in replica.stored()) == other.tolist()


def test_rows_that_other_shards_had_when_there_were_more_are_dropped(replica):
    def updates(shards, life, rows):
        return [
            Update(shard, shards, life, 1, life=life, complete=True, rows={"item": (ids, ones[: len(ids)])})
            for shard in range(shards)
            for ids in [rows[shard_of(rows, shards) == shard]]
        ]

    ones = np.ones((40, 2), np.float32)
    log = [*updates(4, 5, np.arange(40)), *updates(2, 9, np.arange(10))]
    replica.read(log)
    replica.sweep()
    assert sorted(row_id for _, row_id in replica.stored()) == list(range(10))


def test_a_life_that_is_complete_amid_a_sweep_has_one_too(replica):
    ids, ones = np.arange(40), np.ones((40, 2), np.float32)
    of = shard_of(ids, SHARDS)
    begins = [Update(s, SHARDS, 5, 1, life=5, rows={"item": (ids[of == s], ones[of == s])}) for s in range(2)]
    ends = [Update(s, SHARDS, 9, 1, life=9, complete=True) for s in range(2)]
    replica.read([*begins, ends[0]])
    replica.sweep(15)
    assert replica.parameters.sweep()
    replica.read([*begins, *ends])
    replica.sweep()
    assert replica.stored() == replica.answers() == {}


def test_a_replica_that_is_frozen_amid_a_sweep_finds_the_same_copy_again(broker, replica, tmp_path):
    old = Life(broker, tmp_path, 1000, {})
    old.learn("item", IDS.tolist())
    old.publisher.publish()
    Life(broker, tmp_path, 10**9, {}).publisher.publish()
    replica.read(broker.log)
    replica.sweep(3)
    frozen = replica.parameters.freeze().tables.lookup({"item": IDS})["item"]
    assert 0 < np.count_nonzero(frozen.any(axis=1)) < len(IDS)
    replica.restart()
    assert np.array_equal(replica.parameters.frozen.tables.lookup({"item": IDS})["item"], frozen)
    assert replica.answers() == {}


def test_a_directory_whose_rows_do_not_say_their_life_is_begun_anew(broker, replica, tmp_path, monkeypatch):
    life = Life(broker, tmp_path, 1000, {})
    life.learn("item", IDS.tolist())
    life.publisher.publish()
    monkeypatch.setattr("serving.parameters.FORMAT_VERSION", 1)
    replica.restart()
    replica.read(broker.log)
    monkeypatch.setattr("serving.parameters.FORMAT_VERSION", FORMAT_VERSION)
    replica.restart()
    assert replica.answers() == replica.stored() == {}
    replica.read(broker.log)
    assert replica.answers() == replica.stored() == life.rows()


SWEEPER = """
import os, signal, sys
from pathlib import Path
import numpy as np
import serving.lives
from ps.updates import Update
from serving.progress import ShardProgress, follow
from tests.serving.test_lives import IDS, Replica
serving.lives._ROWS_PER_STEP = 2
replica = Replica(Path(sys.argv[1]))
ones = np.ones((len(IDS), 2), np.float32)
rows = {"item": (IDS, ones)}
kept = {"item": (IDS[:1], ones[:1])}
replica.read([Update(0, 2, 5, 1, life=5, rows=rows), Update(0, 2, 9, 1, life=9, rows=kept, complete=True)])
replica.sweep(int(sys.argv[2]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("steps", [0, 3])
def test_a_sweep_that_a_kill_has_ended_goes_on_with_the_next_start(tmp_path, steps):
    command = [sys.executable, "-c", SWEEPER, str(tmp_path / "replica"), str(steps)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    replica = Replica(tmp_path / "replica")
    assert list(replica.answers()) == [("item", IDS[0])]
    assert len(replica.stored()) > 1
    replica.sweep()
    assert list(replica.stored()) == [("item", IDS[0])]
    replica.restart()
    assert not replica.parameters.sweep()
    replica.parameters.close()


lives = st.integers(0, 5)


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), lives), max_size=30),
    st.dictionaries(
        st.integers(0, 3), st.tuples(lives, st.just(4)) | st.tuples(lives, st.just(5)), max_size=4
    ),
)
def test_a_row_is_lost_when_it_is_older_than_the_complete_life_of_its_shard(rows, complete):
    ids = np.array([row_id for row_id, _ in rows], np.int64)
    written = np.array([life for _, life in rows], np.uint64)
    expected = [
        any(
            life < newest and shard_of(ids[i : i + 1], of)[0] == shard
            for shard, (newest, of) in complete.items()
        )
        for i, (_, life) in enumerate(rows)
    ]
    assert lost(ids, written, complete).tolist() == expected
