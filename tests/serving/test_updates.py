"""The consumer, in this process, against a broker over sockets."""

import itertools
import time

import numpy as np
import pytest

from ps.router import shard_of
from ps.updates import Sample, encode
from serving.dense import DenseLoader
from serving.freshness import Freshness
from serving.parameters import Parameters
from serving.progress import Verdict
from serving.store import StoreError
from serving.updates import UpdatesConsumer


@pytest.fixture
def start(broker, topic, fake, tmp_path):
    """Starts a consumer on the state of the one before, which it stops."""
    running = []

    def stop():
        while running:
            consumer = running.pop()
            consumer.stop()
            consumer.parameters.close()

    def start(**changes) -> UpdatesConsumer:
        stop()
        arguments = {"seed": fake.SEED, "topic": topic, "tables": fake.TABLES, **changes}
        parameters = Parameters(
            tmp_path / "state", arguments["tables"], arguments["seed"], fake.INITIAL_DENSE
        )
        freshness = Freshness(shards=2)
        consumer = UpdatesConsumer(
            name="test",
            bootstrap=broker.address,
            kafka_client={},
            topic=arguments["topic"],
            parameters=parameters,
            dense=DenseLoader(parameters.replace_dense),
            freshness=freshness,
        )
        consumer.parameters, consumer.freshness = parameters, freshness
        consumer.start()
        running.append(consumer)
        return consumer

    yield start
    stop()


@pytest.fixture
def item_row(until):
    def wait(consumer, row_id, value):
        ids = np.array([row_id])
        until(
            lambda: consumer.parameters.tables.lookup({"item_id": ids})["item_id"][0, 0] == value,
            f"row {row_id} is {value}",
        )

    return wait


def test_a_repeated_update_is_skipped(start, shards, item_row, until):
    consumer = start()
    first = shards[0].publish({"item_id": {1: 1}})
    shards[0].publish({"item_id": {1: 2}})
    shards[0].send(first)
    shards[0].publish({"item_id": {2: 3}})
    item_row(consumer, 2, 3)
    item_row(consumer, 1, 2)
    assert consumer.counts[Verdict.REPEAT] == 1
    assert consumer.counts[Verdict.NEXT] == 3


def test_what_makes_no_sense_is_counted_told_and_leaves_a_gap(start, shards, broker, topic, item_row):
    consumer = start()
    good = shards[0].update({"item_id": {1: 1}})
    damaged = bytearray(encode(good))
    damaged[-1] ^= 1
    broker.send(topic, bytes(damaged))
    broker.send(topic, b"")
    shards[0].publish({"nobody": {1: 1}})
    shards[0].publish({"item_id": {2: 3}})
    item_row(consumer, 2, 3)
    assert consumer.refused == 3
    assert consumer.counts[Verdict.GAP] == 1
    assert "updates 1 to 2 are missing" in consumer.parameters.progress[0].gap
    assert "updates 1 to 2 are missing" in consumer.last_error
    item_row(consumer, 1, 0)


def test_rows_of_another_width_are_refused(start, shards, until, item_row):
    consumer = start()
    shards[0].publish({"item_id": {1: 7}})
    update = shards[0].update()
    update.rows["item_id"] = (np.array([1]), np.zeros((1, 3), np.float32))
    shards[0].send(update)
    until(lambda: consumer.refused == 1, "refused")
    assert consumer.last_error.startswith("updates, partition ")
    assert consumer.last_error.endswith("shard 0, table 'item_id': rows of 3 floats, here they have 1")
    item_row(consumer, 1, 7)


def test_the_next_consumer_reads_on_where_the_last_one_stopped(start, shards, item_row):
    consumer = start()
    shards[1].publish({"item_id": {1: 1}})
    item_row(consumer, 1, 1)
    consumer = start()
    item_row(consumer, 1, 1)
    shards[1].publish({"item_id": {2: 2}})
    item_row(consumer, 2, 2)
    assert consumer.counts == {Verdict.NEXT: 1, Verdict.REPEAT: 0, Verdict.STALE: 0, Verdict.GAP: 0}


@pytest.mark.parametrize("change", ["seed", "tables"])
def test_state_of_another_job_is_read_anew(start, shards, item_row, fake, change):
    shards[1].publish({"item_id": {1: 1}})
    item_row(start(), 1, 1)
    other = {"seed": 2, "tables": {**fake.TABLES, "more": fake.TABLES["item_id"]}}
    consumer = start(**{change: other[change]})
    item_row(consumer, 1, 1)
    assert consumer.counts[Verdict.NEXT] == 1


def test_state_of_another_topic_is_dropped(start, shards, item_row, broker, until):
    shards[1].publish({"item_id": {1: 1}})
    item_row(start(), 1, 1)
    consumer = start(topic=broker.make_topic("updates-made-anew"))
    until(lambda: consumer.caught_up, "caught up")
    item_row(consumer, 1, 0)
    assert consumer.parameters.progress == {}


@pytest.mark.stack
def test_a_full_disk_holds_updates_up_shows_as_lag_and_loses_none(
    small_disk, fill, start, shards, item_row, until
):
    consumer = start()
    until(lambda: consumer.caught_up, "caught up")
    shards[0].publish({"item_id": {1: 1}})
    item_row(consumer, 1, 1)
    filler = fill()
    held = shards[0].publish({"item_id": dict.fromkeys(range(2000), 2)})
    until(lambda: "No space left" in (consumer.last_error or ""), "the full disk is told")
    until(lambda: "can't be opened" in consumer.last_error, "it is tried again")
    with pytest.raises(StoreError):
        consumer.parameters.freeze()
    item_row(consumer, 1, 1)
    until(lambda: consumer.lag_s() > 2, "lag grows though nothing more comes")
    assert consumer.lag_s() <= time.time() - held.published_ms / 1000
    shards[0].publish({"item_id": {2: 3}})
    until(lambda: consumer.backlog_messages == 2, "both are told to wait")
    filler.unlink()
    item_row(consumer, 2, 3)
    item_row(consumer, 1, 2)
    shards[0].publish()
    until(lambda: consumer.lag_s() < 1, "no more lag")
    assert consumer.last_error is None
    assert consumer.counts[Verdict.NEXT] == 4
    consumer = start()
    item_row(consumer, 1, 2)
    until(lambda: consumer.caught_up, "caught up")
    assert not any(consumer.counts.values())


@pytest.fixture
def refuse_first(monkeypatch):
    """`refuse_first(store, name)`: the first call of a method is refused; counts all of them from 1."""

    def refuse(store, name):
        call, tries = getattr(store, name), itertools.count(1)

        def fail_first(*arguments):
            if next(tries) == 1:
                raise StoreError("no space left")
            call(*arguments)

        monkeypatch.setattr(store, name, fail_first)
        return tries

    return refuse


def test_a_refused_write_is_tried_again(start, shards, item_row, refuse_first, until):
    consumer = start()
    until(lambda: consumer.caught_up, "caught up")
    tries = refuse_first(consumer.parameters.store, "write")
    shards[0].publish({"item_id": {1: 1}})
    item_row(consumer, 1, 1)
    assert next(tries) > 2


def test_rows_of_a_life_that_is_over_go_once_the_next_is_complete(
    start, shards, item_row, refuse_first, until
):
    kept, gone = np.flatnonzero(shard_of(np.arange(9), 2) == 0)[:2].tolist()
    consumer = start()
    tries = refuse_first(consumer.parameters.store, "remove")
    shards[0].publish({"item_id": {kept: 1, gone: 1}})
    shards[0].publish({"item_id": {kept: 2}}, epoch=2, sequence=1)
    item_row(consumer, kept, 2)
    item_row(consumer, gone, 1)
    shards[0].publish(epoch=2, sequence=2, complete=True)
    until(lambda: consumer.last_error == "no space left", "the full disk is told")
    item_row(consumer, gone, 0)
    item_row(consumer, kept, 2)
    assert next(tries) > 2
    until(lambda: consumer.last_error is None, "it is written again")


def test_samples_read_from_the_past_are_not_measured(start, shards, until):
    sample = Sample(0, 4, 1)
    for shard in shards:
        shard.publish(marks={0: 5}, samples=(sample,))
    consumer = start()
    until(lambda: consumer.caught_up, "caught up")
    assert not len(consumer.freshness.take())
