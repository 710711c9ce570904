"""The client against services behind real sockets, in this process."""

import threading

import numpy as np
import pytest

from ps import wire
from ps.client import (
    Push,
    PushRefused,
    ShardError,
    ShardRestarted,
    Shards,
    ShardTimeoutError,
    ShardUnavailableError,
    Span,
    TooLargeError,
)
from ps.router import shard_of, shard_of_name

IDS = {
    "user": np.arange(-50, 50, dtype=np.int64),
    "item/id": np.array([5], np.int64),
    "hour": np.array([], np.int64),
}


def step(first: int, next_: int, partition: int = 0) -> Push:
    """A push that moves every row of IDS and both dense tensors."""
    widths = {"user": 3, "item/id": 2, "hour": 1}
    tables = {
        name: (ids, np.outer(ids, np.ones(widths[name], np.float32)).astype(np.float32))
        for name, ids in IDS.items()
    }
    dense = {name: np.ones(2, np.float32) for name in ("w", "v")}
    return Push((Span(partition, first, next_),), tables, dense, samples=[(partition, first, 1)])


def initialize(shards: Shards) -> None:
    shards.initialize_dense({name: np.ones(2, np.float32) for name in ("w", "v")})


@pytest.mark.parametrize("count", [2, 3, 5])
def test_many_shards_answer_like_one(serve, connect, count):
    alone, many = connect(serve(1).addresses), connect(serve(count).addresses)
    for shards in (alone, many):
        initialize(shards)
        shards.push(step(0, 5))
        shards.push(step(5, 7))
    (rows, dense), (expected_rows, expected_dense) = many.pull(IDS), alone.pull(IDS)
    assert rows.keys() == expected_rows.keys()
    for name in rows:
        np.testing.assert_array_equal(rows[name], expected_rows[name])
    assert {n: t.tolist() for n, t in dense.items()} == {n: t.tolist() for n, t in expected_dense.items()}
    assert many.marks() == [{0: 7}] * count


def test_rows_and_tensors_lie_where_the_router_says(serve, connect):
    served = serve(3)
    shards = connect(served.addresses)
    initialize(shards)
    shards.push(step(0, 5))
    for index, shard in enumerate(served.shards):
        mine = IDS["user"][shard_of(IDS["user"], 3) == index]
        assert sorted(shard.table("user").items()[0].tolist()) == sorted(mine.tolist())
        assert all(shard_of_name(name, 3) == index for name in shard.dense())


def test_a_shard_without_rows_in_a_push_moves_its_marks_and_gets_the_samples(serve, connect, make_push):
    served = serve(4)
    connect(served.addresses).push(make_push(0, 5, [1], samples=[(0, 4, 9)]))
    assert [shard.marks() for shard in served.shards] == [{0: 5}] * 4
    assert all(shard.take_changes({}).samples == ((0, 4, 9),) for shard in served.shards)


def test_a_push_sent_twice_is_learnt_once(serve, connect, contents):
    served = serve(2)
    shards = connect(served.addresses)
    initialize(shards)
    shards.push(step(0, 5))
    before = [contents(shard) for shard in served.shards]
    shards.push(step(0, 5))
    assert [contents(shard) for shard in served.shards] == before


def test_a_shard_that_is_ahead_ignores_what_the_other_still_needs(serve, connect, contents):
    served, twin = serve(2), serve(2)
    shards, other = connect(served.addresses), connect(twin.addresses)
    for client in (shards, other):
        initialize(client)
        client.push(step(0, 5))
    ahead = served.shards[0]
    ahead.push(Push((Span(0, 5, 8),)))
    before = contents(ahead)
    shards.push(step(5, 8))
    other.push(step(5, 8))
    assert contents(ahead) == before
    assert contents(served.shards[1]) == contents(twin.shards[1])


def test_a_refusal_names_the_shard_and_the_stream_goes_on(serve, connect):
    shards = connect(serve(2).addresses)
    initialize(shards)
    shards.push(step(0, 5))
    with pytest.raises(
        PushRefused, match=r"shard 0 at 127.0.0.1:\d+: shard 0 has learnt partition 0 up to 5"
    ):
        shards.push(step(6, 8))
    shards.push(step(5, 8))
    assert shards.marks() == [{0: 8}, {0: 8}]


def test_what_is_malformed_is_refused_with_a_sentence(serve, connect, make_push):
    shards = connect(serve(2).addresses)
    with pytest.raises(ValueError, match="table 'nobody' is unknown: shard 0 has hour, item/id, user"):
        shards.pull({"nobody": np.array([1], np.int64)})
    with pytest.raises(ValueError, match=r"ids of table 'user': .*int64\[n\] is needed, not float64"):
        shards.pull({"user": np.array([1.0])})
    with pytest.raises(ValueError, match="a gradient is NaN"):
        shards.push(make_push(0, 1, tables={"user": (np.array([1]), np.full((1, 3), np.nan, np.float32))}))
    with pytest.raises(ValueError, match="'w' is unknown: initialize_dense comes first"):
        shards.push(make_push(0, 1, dense={"w": np.ones(1, np.float32)}))
    shards.push(make_push(0, 1))


def test_shards_in_the_wrong_order_are_noticed_before_any_id_goes_astray(serve, connect):
    addresses = serve(2).addresses
    shards = connect(addresses[::-1])
    with pytest.raises(ShardError, match=r"this is shard .* check ps.addresses"):
        shards.pull(IDS)


def test_a_shard_that_is_not_there_is_named_after_the_time_to_reconnect(connect):
    shards = connect(["127.0.0.1:1"], reconnect_s=0.1)
    with pytest.raises(ShardUnavailableError, match=r"shard 0 at 127.0.0.1:1 can't be reached"):
        shards.pull(IDS)
    with pytest.raises(ShardUnavailableError, match=r"shard 0 at 127.0.0.1:1 can't be reached"):
        shards.marks()


def test_a_shard_that_does_not_answer_is_named_after_the_timeout(serve, connect, make_push):
    served = serve(2)
    shards = connect(served.addresses, timeout_s=0.3)
    shards.push(make_push(0, 1))
    with served.shards[1]._lock, pytest.raises(ShardTimeoutError, match=r"shard 1 at .* within 0.3 s"):
        shards.push(make_push(1, 2))
    shards.push(make_push(1, 2))
    assert shards.marks() == [{0: 2}, {0: 2}]


def test_threads_share_a_client(serve, connect):
    served = serve(2)
    shards = connect(served.addresses)
    initialize(shards)
    errors: list[BaseException] = []

    def train(partition: int) -> None:
        try:
            for first in range(20):
                shards.push(step(first, first + 1, partition))
                rows, _ = shards.pull(IDS)
                assert len(rows["user"]) == 100
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(p,)) for p in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert shards.marks() == [dict.fromkeys(range(4), 20)] * 2


def test_a_partition_that_one_shard_lost_starts_at_0_there(serve, connect):
    served = serve(2)
    shards = connect(served.addresses)
    initialize(shards)
    shards.push(step(0, 5))
    served.shards[0].push(Push((Span(1, 0, 9),)))
    assert shards.marks() == [{0: 5, 1: 9}, {0: 5, 1: 0}]


def test_a_broken_shard_ends_itself(serve, connect, make_push, monkeypatch):
    served = serve(1)

    def out_of_memory(gradients: object, step: int) -> None:
        raise MemoryError

    monkeypatch.setattr(served.shards[0]._dense, "apply_gradients", out_of_memory)
    with pytest.raises(ShardUnavailableError, match="broke in the middle of a push"):
        connect(served.addresses, reconnect_s=0).push(make_push(0, 1))
    assert set(served.broken) == {0}


def test_a_new_life_is_noticed_by_a_push_and_accepted_by_reading_the_marks(serve, connect, make_push):
    served = serve(1)
    shards = connect(served.addresses)
    shards.push(make_push(0, 5))
    served.live_anew(0)
    with pytest.raises(
        ShardRestarted, match="has restarted, perhaps from a snapshot: read the marks, rewind"
    ):
        shards.push(make_push(5, 6))
    assert shards.marks() == [{0: 5}]
    shards.push(make_push(5, 6))
    assert shards.marks() == [{0: 6}]


def test_what_is_too_long_for_one_shard_is_seen_by_none(serve, connect, make_push, monkeypatch):
    served = serve(2)
    shards = connect(served.addresses)
    ids = np.arange(200)
    mine = ids[shard_of(ids, 2) == 1]
    # 8 bytes of an id, 12 of its row.
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 20 * len(mine) - 1)
    with pytest.raises(TooLargeError, match=f"{20 * len(mine)} bytes for one shard"):
        shards.push(make_push(0, 1, mine))
    with pytest.raises(TooLargeError, match=f"{20 * len(mine)} bytes for one shard"):
        shards.pull({"user": mine})
    assert shards.marks() == [{}, {}]
    assert [service._metrics.malformed._value.get() for service in served.services] == [0, 0]
    shards.push(make_push(0, 1, mine[1:]))
    shards.pull({"user": mine[1:]})
    assert shards.marks() == [{0: 1}, {0: 1}]


def test_dense_tensors_leave_less_room_for_rows(serve, connect, monkeypatch):
    served = serve(2)
    shards = connect(served.addresses)
    initialize(shards)
    (owner,) = {shard_of_name("w", 2)}
    ids = np.arange(200)
    mine = ids[shard_of(ids, 2) == owner]
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 20 * len(mine))
    with pytest.raises(TooLargeError):
        shards.pull({"user": mine})
    shards.pull({"user": mine[1:]})
