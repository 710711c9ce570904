from hypothesis import given
from hypothesis import strategies as st

from ps.updates import Update
from serving.progress import ShardProgress, Verdict, follow


def update(epoch: int, sequence: int, **fields: object) -> Update:
    return Update(shard=3, shards=4, epoch=epoch, sequence=sequence, published_ms=sequence, **fields)


def follow_all(*places: tuple[int, int]) -> tuple[list[Verdict], ShardProgress]:
    progress, verdicts = ShardProgress(), []
    for epoch, sequence in places:
        verdict, progress = follow(progress, update(epoch, sequence))
        verdicts.append(verdict)
    return verdicts, progress


def test_updates_in_sequence_are_next_and_a_new_epoch_starts_at_one():
    verdicts, progress = follow_all((5, 1), (5, 2), (9, 1), (9, 2))
    assert verdicts == [Verdict.NEXT] * 4
    assert (progress.epoch, progress.sequence, progress.gap) == (9, 2, None)


def test_a_repeated_sequence_changes_nothing():
    _, before = follow_all((5, 1), (5, 2))
    for sequence in (1, 2):
        assert follow(before, update(5, sequence)) == (Verdict.REPEAT, before)


def test_an_epoch_that_was_replaced_changes_nothing():
    _, before = follow_all((5, 1), (6, 1))
    assert follow(before, update(5, 2)) == (Verdict.STALE, before)


def test_a_gap_is_told_until_the_next_epoch():
    verdicts, progress = follow_all((5, 1), (5, 4), (5, 5))
    assert verdicts == [Verdict.NEXT, Verdict.GAP, Verdict.NEXT]
    assert progress.gap.startswith("shard 3, epoch 5: updates 2 to 3 are missing")
    assert follow(progress, update(6, 1))[1].gap is None


def test_a_topic_that_has_lost_its_beginning_is_a_gap():
    verdicts, progress = follow_all((5, 3))
    assert verdicts == [Verdict.GAP]
    assert "updates 1 to 2 are missing" in progress.gap


def test_an_update_without_marks_keeps_those_of_before():
    _, progress = follow(ShardProgress(), update(1, 1, marks={0: 7}))
    assert follow(progress, update(1, 2))[1].marks == {0: 7}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), max_size=30))
def test_what_is_applied_only_grows(places):
    progress, last = ShardProgress(), (0, 0)
    for epoch, sequence in places:
        verdict, progress = follow(progress, update(epoch, sequence))
        is_applied = verdict in (Verdict.NEXT, Verdict.GAP)
        assert is_applied == ((epoch, sequence) > last)
        last = max(last, (epoch, sequence))
        assert (progress.epoch, progress.sequence) == last
