import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.batches import Batcher, Message
from ps.client import Push, PushRefused, Span
from ps.settings import OptimizerSettings
from ps.shard import Shard


def message(offset: int, examples: int = 1, partition: int = 0) -> Message:
    return Message(partition, offset, (b"",) * examples)


@pytest.fixture
def batcher() -> Batcher:
    batcher = Batcher()
    batcher.place(0, 0, [])
    return batcher


def test_a_batch_has_whole_messages_up_to_the_limit(batcher):
    for offset in range(4):
        batcher.add(message(offset, examples=3))
    first, second = batcher.take(4), batcher.take(100)
    assert [m.offset for m in first.messages] == [0, 1]
    assert [m.offset for m in second.messages] == [2, 3]
    assert batcher.take(100) is None


def test_spans_close_the_gaps_that_offsets_have(batcher):
    for offset in (3, 7, 8):
        batcher.add(message(offset))
    assert batcher.take(2).spans == ((0, 0, 8),)
    assert batcher.take(2).spans == ((0, 8, 9),)


def test_a_message_without_examples_moves_on_as_well(batcher):
    batcher.add(message(5, examples=0))
    batch = batcher.take(10)
    assert batch.examples == []
    assert batch.spans == ((0, 0, 6),)


def test_partitions_are_learnt_together(batcher):
    batcher.place(1, 10, [10])
    batcher.add(message(0))
    batcher.add(message(10, partition=1))
    assert batcher.take(10).spans == ((0, 0, 1), (1, 10, 11))


def test_a_batch_ends_at_a_mark_ahead_and_is_alone(batcher):
    batcher.place(1, 0, [2, 0])
    for offset in range(4):
        batcher.add(message(offset, partition=1))
        batcher.add(message(offset))
    assert batcher.take(10).spans == ((1, 0, 2),)
    assert batcher.take(10).spans == ((0, 0, 4), (1, 2, 4))


def test_a_mark_in_a_gap_still_ends_a_batch(batcher):
    batcher.place(0, 0, [5])
    batcher.add(message(7))
    assert batcher.take(10).spans == ((0, 0, 5),)
    assert batcher.take(10).spans == ((0, 5, 8),)


def test_what_lies_before_the_position_or_elsewhere_is_ignored(batcher):
    batcher.place(0, 5, [])
    batcher.add(message(4))
    batcher.add(message(9, partition=3))
    assert batcher.take(10) is None


@given(st.data())
def test_every_shard_learns_every_example_once_whatever_marks_they_come_back_with(data):
    """Shards learn to random places, then reading begins anew, several times: nothing is refused."""
    partitions = data.draw(st.integers(1, 3), label="partitions")
    offsets = [
        sorted(data.draw(st.sets(st.integers(0, 40), min_size=1, max_size=15), label="offsets"))
        for _ in range(partitions)
    ]
    shards = [Shard(i, 2, {}, OptimizerSettings(), 1) for i in range(2)]
    learnt: list[list[tuple[int, int]]] = [[], []]
    for _ in range(data.draw(st.integers(1, 4), label="lives")):
        steps = data.draw(st.integers(0, 8), label="steps")
        _live(data, shards, learnt, offsets, steps)
    _live(data, shards, learnt, offsets, steps=1000)
    everything = [(p, offset) for p, each in enumerate(offsets) for offset in each]
    assert [sorted(each) for each in learnt] == [everything, everything]


def _live(data, shards, learnt, offsets, steps):
    batcher = Batcher()
    marks = [shard.marks() for shard in shards]
    for partition, each in enumerate(offsets):
        known = [shard[partition] for shard in marks if partition in shard] or [each[0]]
        # A shard that knows nothing of a partition that another knows is at 0 (`Shards.marks`).
        if any(partition in shard for shard in marks) and not all(partition in shard for shard in marks):
            known.append(0)
        batcher.place(partition, min(known), known)
        for offset in each:
            batcher.add(message(offset, partition=partition))
    for _ in range(steps):
        batch = batcher.take(data.draw(st.integers(1, 6), label="limit"))
        if batch is None:
            break
        for piece in _pieces(data, batch):
            # A worker, or a shard, may die before a push has reached every shard: then this life is over.
            reached = data.draw(st.sampled_from([[0, 1], [1, 0], [0], [1], []])) if steps < 1000 else [0, 1]
            for index in reached:
                if shards[index].push(Push(piece.spans)):
                    learnt[index] += [(m.partition, m.offset) for m in piece.messages]
            if len(reached) < 2:
                return


def _pieces(data, batch):
    """The batch, or, as if it were too large, its halves, or theirs, …"""
    if len(batch.messages) < 2 or data.draw(st.booleans(), label="is whole"):
        return [batch]
    return [piece for half in batch.halves() for piece in _pieces(data, half)]


def test_halves_cover_what_the_batch_did_and_each_message_lies_within_its_half(batcher):
    batcher.place(1, 0, [])
    for offset in (2, 3, 7):
        batcher.add(message(offset))
    for offset in (4, 9):
        batcher.add(message(offset, partition=1))
    first, rest = batcher.take(10).halves()
    assert (first.spans, rest.spans) == (((0, 0, 4),), ((0, 4, 8), (1, 0, 10)))
    assert [m.offset for m in first.messages] == [2, 3]
    assert [m.offset for m in rest.messages] == [7, 4, 9]
    # The first half of `rest` ends where partition 0 does.
    assert [half.spans for half in rest.halves()] == [((0, 4, 8),), ((1, 0, 10),)]
    batcher.place(0, 0, [9])
    batcher.add(message(2))
    batcher.add(message(5))
    batcher.add(message(9))
    assert [half.spans for half in batcher.take(10).halves()] == [((0, 0, 3),), ((0, 3, 9),)]


def test_without_cuts_a_shard_would_refuse():
    shard, batcher = Shard(0, 1, {}, OptimizerSettings(), 1), Batcher()
    shard.push(Push((Span(0, 0, 5),)))
    batcher.place(0, 0, [])
    for offset in range(8):
        batcher.add(message(offset))
    with pytest.raises(PushRefused):
        shard.push(Push(batcher.take(10).spans))
