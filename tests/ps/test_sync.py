import itertools
from datetime import datetime, timedelta

import numpy as np
import pytest
from confluent_kafka import KafkaException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ps.dense_files import DenseFiles, DenseSchedule
from ps.settings import SyncSettings
from ps.sync import MESSAGE_BYTES, UpdatePublisher
from ps.tensor_files import read_dense
from ps.updates import Position, Sample, Update

DENSE = {"w": np.ones(2, np.float32)}


@pytest.fixture
def make_publisher(tmp_path, broker):
    def make(shard, epoch: int = 100, **options) -> UpdatePublisher:
        sync = SyncSettings(**options)
        return UpdatePublisher(shard, broker, "updates", sync, DenseFiles(str(tmp_path), shard.index), epoch)

    return make


class Replica:
    """What a replica must do: series in order, a later epoch goes on from what was acknowledged."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, list[float]]] = {}
        self.marks: dict[int, int] = {}
        self.samples: list[Sample] = []
        self.position = (0, 0)

    def apply(self, update: Update) -> None:
        epoch, sequence = self.position
        assert (update.epoch, update.sequence) == (epoch, sequence + 1) or (
            update.epoch > epoch and update.sequence == 1 and update.after <= Position(epoch, sequence)
        )
        assert update.life == 100
        self.position = (update.epoch, update.sequence)
        for name, (ids, rows) in update.rows.items():
            self.rows.setdefault(name, {}).update(zip(ids.tolist(), rows.tolist(), strict=True))
        for name, ids in update.deleted.items():
            for gone in ids.tolist():
                self.rows.get(name, {}).pop(gone, None)
        self.marks = dict(update.marks) or self.marks
        self.samples += update.samples


def replay(log: list[Update]) -> Replica:
    replica = Replica()
    for update in log:
        replica.apply(update)
    return replica


def rows_of(shard) -> dict[str, dict[int, list[float]]]:
    found = {name: table.items() for name, table in shard.tables.items()}
    return {
        name: dict(zip(ids.tolist(), rows[:, : shard.tables[name].dim].tolist(), strict=True))
        for name, (ids, rows, _, _) in found.items()
        if len(ids)
    }


def test_what_changes_is_published_and_nothing_twice(make_shard, make_push, make_publisher, broker):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, [1, 2], samples=[(0, 4, 99)]))
    assert publisher.publish()
    shard.push(make_push(5, 6, [2]))
    assert publisher.publish()
    first, second = broker.log
    assert (first.epoch, first.sequence, second.sequence) == (100, 1, 2)
    assert sorted(first.rows["user"][0].tolist()) == [1, 2]
    assert second.rows["user"][0].tolist() == [2]
    assert (first.marks, second.marks) == ({0: 5}, {0: 6})
    assert (first.samples, second.samples) == ((Sample(0, 4, 99),), ())
    assert replay(broker.log).rows == rows_of(shard)
    assert (publisher.position.sequence, publisher.position.offset) == (2, 1)


def test_a_shard_where_nothing_happens_gives_a_sign_of_life(make_shard, make_publisher, broker):
    publisher = make_publisher(make_shard())
    publisher.publish()
    publisher.publish()
    assert [(u.sequence, u.rows, u.deleted) for u in broker.log] == [(1, {}, {}), (2, {}, {})]


def test_deletions_are_published(make_shard, make_push, make_publisher, broker):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, [1, 2]))
    publisher.publish()
    shard.table("user").remove(np.array([1]))
    publisher.publish()
    assert broker.log[-1].deleted["user"].tolist() == [1]
    assert replay(broker.log).rows == rows_of(shard)


@pytest.mark.parametrize("failure", ["broker away", "acknowledgement lost"])
def test_what_was_not_acknowledged_goes_out_again_in_a_new_epoch(
    make_shard, make_push, make_publisher, broker, failure
):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, [1, 2], samples=[(0, 4, 99)]))
    shard.table("user").remove(np.array([2]))
    broker.failures = itertools.chain([failure], itertools.repeat(None))
    assert not publisher.publish()
    assert publisher.lag_s() > 0
    shard.push(make_push(5, 6, [3], samples=[(0, 5, 100)]))
    assert publisher.publish()
    assert publisher.lag_s() == 0
    last = broker.log[-1]
    assert last.epoch > 100
    assert last.sequence == 1
    assert sorted(last.rows["user"][0].tolist()) == [1, 3]
    assert last.deleted["user"].tolist() == [2]
    assert last.samples == (Sample(0, 4, 99), Sample(0, 5, 100))
    assert replay(broker.log).rows == rows_of(shard)


def test_a_new_epoch_says_which_message_was_acknowledged_last(make_shard, make_publisher, broker):
    publisher = make_publisher(make_shard())
    broker.failures = iter([None, None, "broker away", "broker away", None, None])
    for _ in range(6):
        publisher.publish()
    first, second, third, fourth = broker.log
    assert (first.after, second.after) == (Position(), Position())
    assert (third.after, fourth.after) == (Position(100, 2), Position(100, 2))
    assert [update.life for update in broker.log] == [100] * 4
    assert (third.sequence, fourth.sequence) == (1, 2)


outcomes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), max_size=6),
        st.sampled_from([None, "broker away", "acknowledgement lost"]),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(outcomes)
def test_whatever_the_broker_loses_replicas_converge(make_shard, make_push, tmp_path, broker, rounds):
    broker.log.clear()
    shard = make_shard()
    publisher = UpdatePublisher(shard, broker, "updates", SyncSettings(), DenseFiles(str(tmp_path), 0), 100)
    for first, (ids, failure) in enumerate(rounds):
        shard.push(make_push(first, first + 1, ids, samples=[(0, first, 1)]))
        if ids and first % 3 == 2:
            shard.table("user").remove(np.array(ids[:1]))
        broker.failures = itertools.repeat(failure)
        publisher.publish()
    broker.failures = itertools.repeat(None)
    assert publisher.publish()
    replica = replay(broker.log)
    assert replica.rows.get("user", {}) == rows_of(shard).get("user", {})
    assert replica.marks == shard.marks()
    assert {s.offset for s in replica.samples} == set(range(len(rounds)))


def test_a_large_cut_is_many_messages_and_its_marks_come_with_the_last(
    make_shard, make_push, make_publisher, broker
):
    shard = make_shard()
    publisher = make_publisher(shard)
    ids = list(range(100_000))
    shard.push(make_push(0, 5, ids, samples=[(0, 4, 99)]))
    shard.table("hour").assign(np.array([1]), np.ones((1, 1), np.float32))
    shard.table("item/id").remove(np.array([1]))
    publisher.publish()
    assert len(broker.log) == 4
    assert max(broker.sizes) < MESSAGE_BYTES + 1024
    assert [dict(u.marks) for u in broker.log] == [{}, {}, {}, {0: 5}]
    assert [len(u.samples) for u in broker.log] == [0, 0, 0, 1]
    assert replay(broker.log).rows == rows_of(shard)


def test_when_a_part_of_a_cut_is_lost_all_of_it_goes_out_again(make_shard, make_push, make_publisher, broker):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, list(range(100_000))))
    broker.failures = itertools.chain([None, None, "broker away"], itertools.repeat(None))
    assert not publisher.publish()
    assert publisher.publish()
    assert replay(broker.log[3:]).rows == rows_of(shard)


def test_a_queue_that_is_full_is_a_failure_like_any_other(make_shard, make_push, make_publisher, broker):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, [1]))
    produce = broker.produce

    def refuse(*_: object, **__: object) -> None:
        raise BufferError("Local: Queue full")

    broker.produce = refuse
    assert not publisher.publish()
    broker.produce = produce
    assert publisher.publish()
    assert replay(broker.log).rows == rows_of(shard)


def test_a_client_that_fails_while_it_waits_is_a_failure_like_any_other(
    make_shard, make_push, make_publisher, broker, monkeypatch
):
    shard = make_shard()
    publisher = make_publisher(shard)
    shard.push(make_push(0, 5, [1]))

    def fail(timeout: float) -> int:
        raise KafkaException("fenced")

    with monkeypatch.context() as patched:
        patched.setattr(broker, "flush", fail)
        assert not publisher.publish()
    assert publisher.publish()
    assert replay(broker.log[-1:]).rows == rows_of(shard)


def test_a_restored_shard_publishes_all_it_has_a_slice_at_a_time(
    make_shard, make_push, make_publisher, broker, monkeypatch
):
    monkeypatch.setattr("ps.sync.BACKLOG_ROWS", 4)
    restored = make_shard()
    for name in ("user", "hour"):
        table = restored.table(name)
        table.assign(np.arange(5), np.ones((5, table.dim), np.float32))
    publisher = make_publisher(restored)
    restored.push(make_push(8, 9, [70], samples=[(0, 8, 1)]))
    for _ in range(3):
        publisher.publish()
    assert [sum(len(ids) for ids, _ in u.rows.values()) for u in broker.log] == [5, 4, 2]
    assert [u.complete for u in broker.log] == [False, False, True]
    assert replay(broker.log).rows == rows_of(restored)


def test_the_life_of_an_empty_shard_is_complete_with_its_first_cut(make_shard, make_publisher, broker):
    make_publisher(make_shard()).publish()
    assert [u.complete for u in broker.log] == [True]


def test_that_a_life_is_complete_comes_again_when_it_was_not_acknowledged(make_shard, make_publisher, broker):
    restored = make_shard()
    restored.table("user").assign(np.arange(60_000), np.ones((60_000, 3), np.float32))
    publisher = make_publisher(restored)
    broker.failures = itertools.chain([None, None, "acknowledgement lost"], itertools.repeat(None))
    assert [publisher.publish() for _ in range(3)] == [False, True, True]
    assert [(u.sequence, u.complete) for u in broker.log] == [
        *((1, False), (2, False), (3, True)),
        *((1, False), (2, False), (3, True), (4, True)),
    ]


def test_dense_tensors_go_out_once_at_first_and_then_by_schedule(
    make_shard, make_publisher, broker, tmp_path
):
    shard = make_shard()
    publisher = make_publisher(shard)
    publisher.publish()
    shard.initialize_dense(DENSE)
    publisher.publish()
    publisher.publish()
    assert [u.dense is not None for u in broker.log] == [False, True, False]
    assert read_dense(broker.log[1].dense)["w"].tolist() == [1, 1]
    file = tmp_path / "dense" / "shard-0" / f"{broker.log[1].dense.version}.parquet"
    assert broker.log[1].dense.url == file.as_uri()


def test_dense_tensors_that_were_not_acknowledged_go_out_again(make_shard, make_publisher, broker):
    shard = make_shard()
    shard.initialize_dense(DENSE)
    publisher = make_publisher(shard)
    broker.failures = itertools.chain(["broker away"], itertools.repeat(None))
    publisher.publish()
    publisher.publish()
    assert broker.log[0].dense is not None


def test_a_disk_that_is_full_holds_back_dense_tensors_but_no_rows(
    make_shard, make_push, make_publisher, broker, monkeypatch
):
    shard = make_shard()
    shard.initialize_dense(DENSE)
    shard.push(make_push(0, 1, [1]))
    publisher = make_publisher(shard)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ps.dense_files.write_tensors", full_disk)
        assert publisher.publish()
    assert publisher.publish()
    assert (broker.log[0].dense, list(broker.log[0].rows)) == (None, ["user"])
    assert broker.log[1].dense is not None


def test_only_the_newest_dense_files_are_kept_and_versions_grow_across_lives(tmp_path):
    files = DenseFiles(str(tmp_path), 0, kept=2)
    versions = [files.write(DENSE).version for _ in range(3)]
    again = DenseFiles(str(tmp_path), 0, kept=2)
    versions.append(again.write(DENSE).version)
    assert versions == sorted(set(versions))
    kept = sorted(int(path.stem) for path in (tmp_path / "dense" / "shard-0").iterdir())
    assert kept == versions[-2:]


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text)

    def __call__(self) -> datetime:
        return self.now


def times_due(schedule: DenseSchedule, clock: Clock, minutes: int) -> list[str]:
    """Publishes whenever it is due, and says when."""
    times = []
    for _ in range(minutes):
        if schedule.is_due(["w"]):
            schedule.published(["w"])
            times.append(f"{clock.now:%H:%M}")
        clock.now += timedelta(minutes=1)
    return times


def test_by_cron_dense_tensors_are_due_at_its_times_and_soon_after_a_start():
    clock = Clock("2026-11-24 22:00")
    schedule = DenseSchedule(SyncSettings(dense_cron="0 0 * * *"), clock)
    assert not schedule.is_due([])
    at_first = ["22:00", "22:01", "22:02", "22:04", "22:08", "22:16", "22:32", "23:04"]
    assert times_due(schedule, clock, 3 * 1440) == [
        *at_first,
        "00:00",
        "02:00",
        "06:00",
        "14:00",
        "00:00",
        "00:00",
    ]


def test_by_cron_a_tensor_that_is_new_is_soon_due_again():
    clock = Clock("2026-11-24 00:00")
    schedule = DenseSchedule(SyncSettings(dense_cron="0 0 * * *"), clock)
    schedule.published(["v"])
    clock.set("2026-11-24 12:00")
    assert times_due(schedule, clock, 3) == ["12:00", "12:01", "12:02"]


def test_by_interval_dense_tensors_are_due_that_long_after_the_last():
    clock = Clock("2026-11-24 22:00:00")
    schedule = DenseSchedule(SyncSettings(dense_interval_s=2), clock)
    schedule.published(["w"])
    clock.set("2026-11-24 22:00:01.9")
    assert not schedule.is_due(["w"])
    assert schedule.is_due(["w", "another"])
    clock.set("2026-11-24 22:00:02")
    assert schedule.is_due(["w"])
