import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ps.updates import Position, Update
from serving.progress import ShardProgress, Verdict, follow


def update(epoch: int, sequence: int, life: int = 0, **fields: object) -> Update:
    """Of a life that began with the epoch, unless another is said."""
    return Update(3, 4, epoch, sequence, life=life or epoch, published_ms=sequence, **fields)


def follow_all(*updates: Update) -> tuple[list[Verdict], ShardProgress]:
    progress, verdicts = ShardProgress(), []
    for each in updates:
        verdict, progress = follow(progress, each)
        verdicts.append(verdict)
    return verdicts, progress


def test_updates_in_sequence_are_next_and_a_new_life_starts_at_one():
    verdicts, progress = follow_all(update(5, 1), update(5, 2), update(9, 1), update(9, 2))
    assert verdicts == [Verdict.NEXT] * 4
    assert (progress.epoch, progress.sequence, progress.gap) == (9, 2, None)


def test_a_repeated_sequence_changes_nothing():
    _, before = follow_all(update(5, 1), update(5, 2))
    for sequence in (1, 2):
        assert follow(before, update(5, sequence)) == (Verdict.REPEAT, before)


def test_an_epoch_that_was_replaced_changes_nothing():
    _, before = follow_all(update(5, 1), update(6, 1))
    assert follow(before, update(5, 2)) == (Verdict.STALE, before)


def test_a_process_that_outlives_its_successors_start_changes_nothing():
    _, before = follow_all(update(5, 1), update(8, 1))
    assert follow(before, update(9, 1, life=5, after=Position(5, 1))) == (Verdict.STALE, before)


def test_a_gap_is_told_until_the_shard_has_started_again():
    verdicts, progress = follow_all(update(5, 1), update(5, 4), update(5, 5))
    assert verdicts == [Verdict.NEXT, Verdict.GAP, Verdict.NEXT]
    assert progress.gap.startswith("shard 3, epoch 5: updates 2 to 3 are missing")
    assert follow(progress, update(6, 1))[1].gap is None


def test_a_new_epoch_of_the_same_life_sends_only_what_is_owed_and_the_gap_stays():
    """A new replica, a topic that has lost 1 to 49, and then a cut that the broker did not acknowledge."""
    verdicts, progress = follow_all(update(100, 50), update(101, 1, life=100, after=Position(100, 50)))
    assert verdicts == [Verdict.GAP, Verdict.NEXT]
    assert "updates 1 to 49 are missing" in progress.gap


def test_epochs_that_were_skipped_are_noticed():
    """Away during epochs 101 and 102, whose messages the topic has lost."""
    verdicts, progress = follow_all(update(100, 1), update(103, 1, life=100, after=Position(102, 7)))
    assert verdicts == [Verdict.NEXT, Verdict.GAP]
    assert progress.gap.startswith("shard 3, epoch 103: updates up to epoch 102, sequence 7 are missing")


def test_what_was_never_acknowledged_comes_again_and_is_not_missed():
    after = {"life": 100, "after": Position(100, 1)}
    verdicts, progress = follow_all(update(100, 1), update(100, 3), update(101, 1, **after))
    assert verdicts == [Verdict.NEXT, Verdict.GAP, Verdict.NEXT]
    assert progress.gap is None


def test_a_life_whose_beginning_is_lost_is_a_gap():
    verdicts, progress = follow_all(update(5, 1), update(9, 1, life=8, after=Position(8, 2)))
    assert verdicts == [Verdict.NEXT, Verdict.GAP]
    assert "up to epoch 8, sequence 2 are missing" in progress.gap


def test_a_topic_that_has_lost_its_beginning_is_a_gap():
    verdicts, progress = follow_all(update(5, 3))
    assert verdicts == [Verdict.GAP]
    assert "updates 1 to 2 are missing" in progress.gap


def test_a_life_is_complete_when_it_says_so_and_not_where_something_is_missing():
    _, progress = follow_all(update(5, 1), update(5, 2, complete=True))
    assert (progress.complete, progress.shards) == (5, 4)
    assert follow(progress, update(9, 1))[1].complete == 5
    assert follow(progress, update(9, 2, complete=True))[1].complete == 5
    assert follow(progress, update(9, 1, complete=True))[1].complete == 9


def test_a_life_is_complete_once_what_was_missing_has_come_again():
    lacks = [update(100, 1), update(100, 3, complete=True)]
    assert follow_all(*lacks)[1].complete == 0
    again = {"life": 100, "after": Position(100, 1)}
    _, progress = follow_all(*lacks, update(101, 1, **again))
    assert progress.complete == 0
    assert follow(progress, update(101, 2, **again, complete=True))[1].complete == 100


def test_an_update_without_marks_keeps_those_of_before():
    _, progress = follow(ShardProgress(), update(1, 1, marks={0: 7}))
    assert follow(progress, update(1, 2))[1].marks == {0: 7}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 6)), max_size=30))
def test_what_is_applied_only_grows(places):
    progress, last = ShardProgress(), (0, 0, 0)
    for life, later, sequence in places:
        verdict, progress = follow(progress, update(life + later, sequence, life))
        is_applied = verdict in (Verdict.NEXT, Verdict.GAP)
        assert is_applied == ((life, life + later, sequence) > last)
        last = max(last, (life, life + later, sequence))
        assert (progress.life, progress.epoch, progress.sequence) == last


class Message(NamedTuple):
    """An update in the log, its rows, all that the shard has, and, at the end of a cut, what of it is out."""

    update: Update
    rows: frozenset[int]
    all_rows: frozenset[int]
    out: frozenset[int] | None


class Series:
    """What a shard publishes, by the rules of `ps.sync`."""

    def __init__(self) -> None:
        self.log: list[Message] = []
        self._numbers = itertools.count(1)
        self._rows: set[int] = set()
        self.restart(0)

    def cut(self, reached: list[bool], acknowledged: bool, most: int = 100) -> None:
        """A cut of a message per entry of `reached`: whether the broker has it. `most`: of the backlog."""
        row = next(self._numbers)
        self._rows.add(row)
        self._owed |= {row, *self._backlog[:most]}
        self._backlog = self._backlog[most:]
        out = frozenset(self._rows.difference(self._backlog))
        for i, is_there in enumerate(reached):
            self._sequence += 1
            rows = frozenset(sorted(self._owed)[i :: len(reached)])
            is_last = i == len(reached) - 1
            complete = is_last and not self._backlog
            message = update(self._epoch, self._sequence, self._life, after=self._after, complete=complete)
            if is_there:
                self.log.append(Message(message, rows, frozenset(self._rows), out if is_last else None))
        if acknowledged:
            self._owed, self._acknowledged = set(), Position(self._epoch, self._sequence)
        else:
            self._epoch, self._sequence, self._after = self._epoch + 1, 0, self._acknowledged

    def restart(self, lost: int) -> None:
        """Go on without the rows that came last: the snapshot has not got them."""
        self._life = self._epoch = getattr(self, "_epoch", 0) + 10
        self._sequence, self._after, self._acknowledged = 0, Position(), Position()
        self._backlog = sorted(self._rows)[: max(0, len(self._rows) - lost)]
        self._rows, self._owed = set(self._backlog), set()


@st.composite
def series(draw: st.DrawFn) -> list[Message]:
    shard = Series()
    for _ in range(draw(st.integers(1, 10))):
        if draw(st.integers(0, 5)) == 0:
            shard.restart(draw(st.integers(0, 4)))
        messages, most = draw(st.integers(1, 3)), draw(st.integers(0, 4))
        if draw(st.booleans()):
            shard.cut([True] * messages, acknowledged=True, most=most)
        else:
            reached = draw(st.lists(st.booleans(), min_size=messages, max_size=messages))
            shard.cut(reached, acknowledged=False, most=most)
    shard.cut([True], acknowledged=True)
    return shard.log


@given(series(), st.data())
def test_a_replica_that_tells_of_no_gap_has_all_rows_and_of_a_complete_life_no_other(log, data):
    seen = data.draw(st.lists(st.booleans(), min_size=len(log), max_size=len(log)))
    progress, held = ShardProgress(), {}
    for message in itertools.compress(log, seen):
        verdict, progress = follow(progress, message.update)
        assert verdict in (Verdict.NEXT, Verdict.GAP)
        held |= dict.fromkeys(message.rows, message.update.life)
        if progress.complete == message.update.life:
            lost = {row for row, life in held.items() if life < progress.complete}
            assert not lost & message.all_rows
            held = {row: life for row, life in held.items() if row not in lost}
        if message.out is not None and progress.gap is None:
            assert held.keys() >= message.out
            if message.update.complete:
                assert progress.complete == message.update.life
                assert held.keys() == message.all_rows


@given(series())
def test_a_replica_that_has_seen_all_that_was_acknowledged_tells_of_no_gap(log):
    _, progress = follow_all(*(message.update for message in log))
    assert progress.gap is None
    assert progress.complete == log[-1].update.life


@pytest.mark.parametrize("lost", range(3))
def test_each_lost_message_of_an_acknowledged_cut_is_told(lost):
    shard = Series()
    shard.cut([True] * 3, acknowledged=True)
    shard.cut([True], acknowledged=False)
    shard.cut([True], acknowledged=True)
    _, progress = follow_all(*(message.update for i, message in enumerate(shard.log) if i != lost))
    assert progress.gap
