import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.push import Push, PushRefused, Span
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import MAX_SAMPLES, Shard, ShardBrokenError, table_seed
from ps.updates import Sample


def rows_of(shard: Shard, ids: list[int]) -> list[list[float]]:
    return shard.table("user").lookup(np.array(ids, np.int64)).tolist()


def test_a_push_moves_rows_dense_tensors_and_marks_together(make_shard, make_push):
    shard = make_shard()
    shard.initialize_dense({"w": np.ones(2, np.float32)})
    before = rows_of(shard, [1, 2])
    push = make_push(10, 15, [1, 2], dense={"w": np.ones(2, np.float32)}, event_ts_ms=99)
    assert shard.push(push)
    assert rows_of(shard, [1, 2]) != before
    assert shard.dense()["w"].tolist() != [1, 1]
    assert shard.marks() == {0: 15}
    assert shard.table("user").items()[2].tolist() == [99, 99]


@pytest.mark.parametrize(("first", "next_"), [(10, 15), (12, 15), (0, 15), (0, 5), (14, 15)])
def test_a_push_that_was_learnt_is_a_repeat_and_changes_nothing(
    make_shard, make_push, contents, first, next_
):
    shard = make_shard()
    shard.push(make_push(10, 15, [1]))
    before = contents(shard)
    assert not shard.push(make_push(first, next_, [1, 2]))
    assert contents(shard) == before


@pytest.mark.parametrize(("first", "next_"), [(16, 20), (14, 16), (0, 16)])
def test_a_gap_or_a_push_that_straddles_the_mark_is_refused(make_shard, make_push, contents, first, next_):
    shard = make_shard()
    shard.push(make_push(10, 15, [1]))
    before = contents(shard)
    with pytest.raises(
        PushRefused, match=f"partition 0 up to 15: a push of .{first}, {next_}. does not go on"
    ):
        shard.push(make_push(first, next_, [1, 2]))
    assert contents(shard) == before


def test_a_push_of_which_only_some_partitions_are_new_is_refused(make_shard, make_push, contents):
    shard = make_shard()
    shard.push(make_push(0, 5, [1], partition=0))
    before = contents(shard)
    with pytest.raises(PushRefused, match="some spans of a push and not others"):
        shard.push(make_push(0, 5, [1], spans=(Span(0, 0, 5), Span(1, 0, 3))))
    assert contents(shard) == before


BAD = {
    "table 'nobody' is unknown: shard 0 has hour, item/id, user": {
        "tables": {"nobody": (np.array([1]), np.ones((1, 3), np.float32))}
    },
    "table 'user': gradients [1, 3] are needed, not [1, 2]": {
        "tables": {"user": (np.array([1]), np.ones((1, 2), np.float32))}
    },
    "table 'user': a gradient is NaN": {
        "tables": {"user": (np.array([1]), np.full((1, 3), np.nan, np.float32))}
    },
    "'w' has shape [2]": {"dense": {"w": np.ones(3, np.float32)}},
    "'v' is unknown": {"dense": {"v": np.ones(3, np.float32)}},
    "needs a span": {"spans": ()},
}


@pytest.mark.parametrize("what", BAD)
def test_a_malformed_push_changes_nothing_even_where_it_is_sound(make_shard, make_push, contents, what):
    shard = make_shard()
    shard.initialize_dense({"w": np.ones(2, np.float32)})
    good = {
        "hour": (np.array([1]), np.ones((1, 1), np.float32)),
        "item/id": (np.array([1]), np.ones((1, 2), np.float32)),
    }
    fields = BAD[what]
    fields = fields | {"tables": good | fields["tables"]} if "tables" in fields else fields
    before = contents(shard)
    with pytest.raises(ValueError, match=re.escape(what)):
        shard.push(make_push(0, 5, [1], **fields))
    assert contents(shard) == before
    assert shard.take_changes({}).rows == {}


def test_after_a_push_that_broke_halfway_nothing_is_taken_or_told(make_shard, make_push, monkeypatch):
    shard = make_shard()

    def out_of_memory(gradients: object, step: int) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(shard._dense, "apply_gradients", out_of_memory)
    for use in (lambda: shard.push(make_push(0, 1, [1])), shard.state, lambda: shard.take_changes({})):
        with pytest.raises(
            ShardBrokenError, match=r"^shard 0 broke in the middle of a push: MemoryError\('no more'\)$"
        ):
            use()


deliveries = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(1, 4), st.integers(0, 5)), max_size=25
)


@given(deliveries)
def test_whatever_is_delivered_each_position_is_learnt_once_and_in_order(stream):
    """Against a twin that is only given what continues its chain: the same pushes, each once."""
    tables = {"user": TableSettings(dim=3)}
    shard, twin = (Shard(0, 1, tables, OptimizerSettings(), 7) for _ in range(2))
    marks: dict[int, int] = {}
    for partition, first, length, row in stream:
        span = Span(partition, first, first + length)
        gradients = np.full((1, 3), first + 1, np.float32)
        push = Push((span,), {"user": (np.array([row]), gradients)}, samples=[(partition, first, 1)])
        mark = marks.get(partition, first)
        if first == mark:
            assert shard.push(push)
            twin.push(push)
            marks[partition] = span.next
        elif span.next <= mark:
            assert not shard.push(push)
        else:
            with pytest.raises(PushRefused):
                shard.push(push)
    assert shard.marks() == marks
    assert rows_of(shard, list(range(6))) == rows_of(twin, list(range(6)))
    assert shard.take_changes({}).samples == twin.take_changes({}).samples


def test_changes_are_what_happened_since_the_last_cut_with_the_newest_rows(make_shard, make_push):
    shard = make_shard()
    shard.initialize_dense({"w": np.ones(2, np.float32)})
    shard.push(make_push(0, 5, [1, 2], samples=[(0, 3, 77)]))
    shard.push(make_push(5, 6, [2, 3]))
    changes = shard.take_changes({})
    ids, rows = changes.rows["user"]
    assert sorted(ids.tolist()) == [1, 2, 3]
    assert rows.tolist() == rows_of(shard, ids.tolist())
    assert list(changes.rows) == ["user"]
    assert changes.marks == {0: 6}
    assert changes.samples == (Sample(0, 3, 77),)
    assert list(changes.dense) == ["w"]
    assert changes.since is not None
    again = shard.take_changes({})
    assert (again.rows, again.deleted, again.samples, again.since) == ({}, {}, (), None)


def test_changes_name_the_ids_whose_rows_are_gone(make_shard, make_push):
    shard = make_shard()
    shard.push(make_push(0, 1, [1, 2]))
    shard.take_changes({})
    shard.table("user").remove(np.array([2], np.int64))
    changes = shard.take_changes({"user": np.array([1, 9], np.int64)})
    assert changes.rows["user"][0].tolist() == [1]
    assert changes.deleted["user"].tolist() == [2, 9]


def test_samples_that_nobody_fetches_are_bounded(make_shard, make_push):
    shard = make_shard()
    for first in range(3):
        samples = [(0, i, 1) for i in range(MAX_SAMPLES // 2)]
        shard.push(make_push(first, first + 1, samples=samples))
    assert len(shard.take_changes({}).samples) == MAX_SAMPLES


def test_tables_start_with_rows_of_their_own():
    assert table_seed(1, "user") != table_seed(1, "item") != table_seed(2, "item")
    assert table_seed(1, "user") == 16576634508382542700


def test_a_cut_never_holds_half_a_push(make_shard):
    """Every push adds the same gradient everywhere, so whatever is consistent is equal everywhere."""
    shard = make_shard(
        tables={
            name: TableSettings(dim=1, optimizer=OptimizerSettings(kind="sgd", learning_rate=1.0))
            for name in ("a", "b")
        },
        dense_optimizer=OptimizerSettings(kind="sgd", learning_rate=1.0),
    )
    ids = np.arange(500, dtype=np.int64)
    for table in shard.tables.values():
        table.assign(ids, np.zeros((500, 1), np.float32))
    shard.initialize_dense({"w": np.zeros((), np.float32)})
    pushes = 200

    def write() -> None:
        gradients = np.full((500, 1), -1, np.float32)
        for i in range(pushes):
            tables = {"a": (ids, gradients), "b": (ids, gradients)}
            shard.push(Push((Span(0, i, i + 1),), tables, {"w": np.array(-1, np.float32)}))

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while seen < pushes:
        state, changes = shard.state(), shard.take_changes({"a": ids, "b": ids})
        for marks, dense, tables in [
            (state.marks, state.dense, [t.rows for chunks in state.tables.values() for t in chunks]),
            (changes.marks, changes.dense, [rows for _, rows in changes.rows.values()]),
        ]:
            seen = marks.get(0, 0)
            assert float(dense["w"]) == seen
            assert {float(v) for rows in tables for v in rows.ravel()} == {seen}
    writer.join()
