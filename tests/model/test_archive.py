"""Archives as `docs/formats.md` has them, written here, and read back as messages."""

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import history as history_module
from model.archive import Archive, Gap, Sweep
from model.batches import Message
from model.history import History
from tests.model.archives import TOPIC, Row, message, rows_of, write


def read(folder: Path, **positions: int) -> list[Message | Gap]:
    """`p0=7`: partition 0 from offset 7 on."""
    archive = Archive(str(folder), TOPIC)
    archive.refresh()
    cursors = {int(p[1:]): archive.cursor(int(p[1:]), offset) for p, offset in positions.items()}
    return list(Sweep(archive, cursors))


@st.composite
def streams(draw: st.DrawFn) -> list[Message]:
    """Messages of several partitions in the order of their commits; some have no examples."""
    steps = st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(0, 4))
    ends: dict[int, int] = defaultdict(int)
    messages = []
    for partition, jump, examples in draw(st.lists(steps, max_size=40)):
        ends[partition] += jump
        messages.append(message(ends[partition], examples, partition))
    return messages


@settings(max_examples=60)
@given(streams(), st.data(), st.integers(1, 12), st.integers(1, 5), st.integers(0, 12))
def test_every_message_comes_once_in_the_order_of_its_partition_wherever_its_hour_is(
    tmp_path_factory, messages, data, round_size, group_rows, position
):
    folder = tmp_path_factory.mktemp("archive")
    files: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for number, rows in enumerate(rows_of(messages)):
        files[data.draw(st.integers(0, 3)), number // round_size] += rows
    for (hour, made), rows in files.items():
        if rows:
            # The parts of a file may come in any order; what was written of one message stays together.
            shuffled = data.draw(st.permutations(sorted({row.offset for row in rows})))
            rows.sort(key=lambda row: (shuffled.index(row.offset), row.partition, row.position))
            write(folder, rows, hour, f"compacted-{made}", group_rows)
    found = read(folder, p0=position, p1=0)
    for partition, first in ((0, position), (1, 0)):
        expected = [m for m in messages if m.partition == partition and m.offset >= first and m.examples]
        assert [m for m in found if m.partition == partition] == expected


def test_memory_holds_what_overlaps_and_not_what_comes_later(tmp_path, monkeypatch):
    messages = [message(offset, 3, offset % 2) for offset in range(200)]
    for hour, first in enumerate(range(0, 200, 10)):
        rows = [row for rows in rows_of(messages)[first : first + 10] for row in rows]
        write(tmp_path, rows, hour, group_rows=6)
    archive = Archive(str(tmp_path), TOPIC)
    archive.refresh()
    sweep = Sweep(archive, {p: archive.cursor(p, 0) for p in (0, 1)})
    most = 0
    for _ in sweep:
        most = max(most, sum(map(len, sweep._waiting.values())))
    assert most <= 9


def test_what_is_not_finished_or_of_another_topic_is_not_read(tmp_path):
    rows = [row for rows in rows_of([message(3), message(5)]) for row in rows]
    write(tmp_path, rows)
    write(tmp_path, rows, name=".part-1")
    others = [row for rows in rows_of([message(3), message(9)], "others") for row in rows]
    write(tmp_path, others, name="compacted-2")
    (tmp_path / "event_day=2026-01-01" / "_SUCCESS").touch()
    assert read(tmp_path, p0=0) == [message(3), message(5)]


def test_a_missing_file_is_a_gap_that_says_what_is_missing(tmp_path):
    messages = [message(offset) for offset in (0, 2, 4, 6)]
    rows = rows_of(messages)
    for hour in (0, 2, 3):
        write(tmp_path, rows[hour], hour)
    assert read(tmp_path, p0=0) == [messages[0], Gap(0, 1, 4, 2), messages[2], messages[3]]
    # Begun behind it, there is none; nor do offsets without examples make one.
    assert read(tmp_path, p0=4) == messages[2:]
    assert read(tmp_path, p0=5) == messages[3:]
    assert read(tmp_path, p0=7) == []


def test_an_archive_whose_beginning_was_deleted_has_a_gap_there(tmp_path):
    rows = rows_of([message(0), message(1, 3), message(8)])
    write(tmp_path, rows[2])
    assert read(tmp_path, p0=0) == [Gap(0, 0, 8, 5), message(8)]


def test_an_example_that_is_there_twice_is_refused(tmp_path):
    rows = [row for rows in rows_of([message(0), message(1)]) for row in rows]
    write(tmp_path, rows)
    copy = write(tmp_path, rows, name="compacted-2")
    with pytest.raises(ValueError, match=r"compacted-\d.parquet has .* several archives, or copies of files"):
        read(tmp_path, p0=0)
    # Written anew from a later offset on, it counts from 0 again.
    write(tmp_path, [row._replace(sequence=row.sequence - 2) for row in rows if row.offset], name=copy.stem)
    with pytest.raises(ValueError, match="several archives, or copies of files"):
        read(tmp_path, p0=0)


@pytest.mark.parametrize("content", ["something else", "a table of something else"])
def test_a_file_that_is_no_archives_is_named(tmp_path, content):
    file = write(tmp_path, [row for rows in rows_of([message(0)]) for row in rows])
    if content == "something else":
        file.write_bytes(b"something else")
    else:
        pq.write_table(pa.table({"item_id": ["7"]}), file)
    with pytest.raises(ValueError, match=r"compacted-1.parquet at .* is no file of an archive"):
        Archive(str(tmp_path), TOPIC).refresh()


class Topic:
    """The first offset that it has, by partition."""

    def __init__(self, **oldest: int) -> None:
        self.oldest = {int(p[1:]): offset for p, offset in oldest.items()}

    def __call__(self, partition: int) -> int:
        return self.oldest[partition]


@pytest.fixture
def make_history(tmp_path, monkeypatch):
    monkeypatch.setattr(history_module, "_LOOK_S", 0.0)

    def make(topic: Topic) -> History:
        return History(Archive(str(tmp_path), TOPIC), topic)

    return make


def everything(history: History) -> list[Message]:
    return [message for batch in iter(lambda: history.take(1), []) for message in batch]


def test_what_the_archive_ends_with_is_where_the_topic_goes_on(make_history, tmp_path):
    messages = [message(3), message(5), message(4, 1, partition=1)]
    write(tmp_path, [row for rows in rows_of(messages) for row in rows])
    history = make_history(Topic(p0=6, p1=5, p2=9))
    history.begin({0: 0, 1: 4, 2: 7})
    assert history.partitions == {0, 1, 2}
    assert everything(history) == messages
    assert history.pop_ended() == {0: 6, 1: 5, 2: 7}
    assert history.partitions == frozenset()


def test_files_that_come_while_it_is_read_are_read_too(make_history, tmp_path):
    messages = [message(0), message(1), message(2)]
    rows = rows_of(messages)
    write(tmp_path, rows[0], hour=0)
    write(tmp_path, rows[2], hour=2)
    history = make_history(Topic(p0=9))
    history.begin({0: 0})
    assert history.take(1) == [messages[0]]
    write(tmp_path, rows[1], hour=1)
    assert everything(history) == messages[1:]
    assert history.pop_ended() == {0: 3}


def test_a_gap_is_filled_by_the_topic_if_it_can(make_history, tmp_path, caplog):
    rows = rows_of([message(0), message(4), message(8)])
    write(tmp_path, rows[0], hour=0)
    write(tmp_path, rows[2], hour=2)
    history = make_history(Topic(p0=1))
    history.begin({0: 0})
    assert everything(history) == [message(0)]
    assert history.pop_ended() == {0: 1}
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_what_neither_has_is_told_and_passed_over(make_history, tmp_path, caplog):
    rows = rows_of([message(0), message(4, 3), message(8), message(9, 1), message(12)])
    for kept in (0, 2, 4):
        write(tmp_path, rows[kept], hour=kept)
    history = make_history(Topic(p0=13))
    history.begin({0: 0})
    assert everything(history) == [message(0), message(8), message(12)]
    assert history.pop_ended() == {0: 13}
    first, last = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "has the 3 examples at offsets 1 to 8" in first
    assert "4 examples were neither in the archive nor in the topic" in last


def test_files_that_are_deleted_are_forgotten(make_history, tmp_path):
    rows = rows_of([message(0), message(4)])
    gone = write(tmp_path, rows[0], hour=0)
    write(tmp_path, rows[1], hour=1)
    history = make_history(Topic(p0=5))
    history.begin({0: 0})
    gone.unlink()
    with pytest.raises(FileNotFoundError):
        history.take(1)
    history.begin({0: 0})
    assert everything(history) == [message(4)]
