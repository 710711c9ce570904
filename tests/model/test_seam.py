"""A topic that has lost its beginning, an archive that has it, and one source that reads both."""

import time

import pytest

from model.archive import Archive
from model.batches import Batch
from model.examples import ExampleSource
from pipelines.example_pb2 import ExampleList
from tests.model.archives import message, rows_of, write

TIMEOUT_S = 20
TOPIC = "examples-with-a-past"
END = 10
ARCHIVED = 7
"""Messages; the archive ends behind the beginning of the topic."""


def big(offset: int) -> bytes:
    """The test's broker keeps the last five million bytes of a topic."""
    (example, *_) = message(offset, 1).examples
    return example.ljust(900_000, b".")


class Followed:
    """A source, and what the shards answer when they are asked for their marks."""

    def __init__(self, broker, folder) -> None:
        topic = broker.make_topic(TOPIC)
        messages = [message(offset, 1)._replace(examples=(big(offset),)) for offset in range(END)]
        for each in messages:
            broker.send(topic, [ExampleList(examples=each.examples).SerializeToString()])
        for hour in range(2):
            rows = [
                row for rows in rows_of(messages[:ARCHIVED], topic) for row in rows if row.offset % 2 == hour
            ]
            write(folder, rows, hour, group_rows=2)
        self.folder = folder
        self.marks: list[dict[int, int]] = [{}]
        self.source = ExampleSource(
            bootstrap=broker.address,
            kafka_client={},
            topic=topic,
            group="seam",
            worker=0,
            marks=lambda: self.marks,
            archive=Archive(str(folder), topic),
        )

    def begin(self, *marks: int) -> None:
        self.marks = [{0: mark} for mark in marks] or [{}]
        self.source.rewind()

    def next(self, batch_size: int = 1) -> Batch:
        end_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end_s:
            if (batch := self.source.poll(batch_size, max_wait_s=0.0)) is not None:
                return batch
        raise AssertionError("no batch came")

    def everything(self, batch_size: int = 1) -> list[Batch]:
        batches = [self.next(batch_size)]
        while batches[-1].spans[0].next < END:
            batches.append(self.next(batch_size))
        return batches


@pytest.fixture(scope="module")
def followed(broker, tmp_path_factory):
    followed = Followed(broker, tmp_path_factory.mktemp("archive"))
    yield followed
    followed.source.close()


def assert_each_comes_once_from(first: int, batches: list[Batch]) -> None:
    spans = [span for batch in batches for span in batch.spans]
    assert [span.first for span in spans] == [first, *(span.next for span in spans[:-1])]
    assert spans[-1].next == END
    messages = [each for batch in batches for each in batch.messages]
    assert [each.offset for each in messages] == list(range(first, END))
    assert all(each.examples == (big(each.offset),) for each in messages)


def test_what_the_topic_has_lost_comes_from_the_archive_and_then_the_topic_goes_on(followed):
    assert 0 < followed.source._oldest(0) < ARCHIVED
    followed.begin()
    assert_each_comes_once_from(0, followed.everything(batch_size=3))


def test_reading_begins_at_the_marks_in_the_archive_too_and_stops_at_those_ahead(followed):
    followed.begin(4, 2)
    batches = followed.everything(batch_size=5)
    assert_each_comes_once_from(2, batches)
    assert batches[0].spans == ((0, 2, 4),)
    # A trainer that died, or a shard that went back.
    followed.begin(3)
    assert followed.next().spans == ((0, 3, 4),)
    followed.begin(1)
    assert_each_comes_once_from(1, followed.everything())


def test_the_backlog_counts_what_the_archive_still_has(followed):
    followed.begin(1)
    followed.next()
    assert followed.source.backlog() == END - 2


def test_what_the_topic_has_is_not_looked_for_in_the_archive(followed, monkeypatch):
    monkeypatch.setattr(followed.source._history._archive, "refresh", None)
    first = followed.source._oldest(0)
    followed.begin(first)
    assert_each_comes_once_from(first, followed.everything())


def test_what_the_topic_loses_before_it_is_read_comes_from_the_archive(followed, monkeypatch):
    watermarks, old = followed.source._watermarks, [(0, END)] * 3
    monkeypatch.setattr(
        followed.source, "_watermarks", lambda partition: old.pop() if old else watermarks(partition)
    )
    followed.begin(1)
    assert_each_comes_once_from(1, followed.everything())
    assert not old


def test_an_archive_that_ends_too_early_is_told(followed, monkeypatch, tmp_path, caplog):
    first = followed.source._oldest(0)
    archive = followed.source._history._archive
    archive.refresh()
    early = [group for group in archive.row_groups if group.extents[0].last_offset < first - 1]
    monkeypatch.setattr(archive, "row_groups", early)
    monkeypatch.setattr(archive, "refresh", lambda: False)
    followed.begin(1)
    batches, end = followed.everything(), archive.end(0)
    assert [m.offset for batch in batches for m in batch.messages] == [*range(1, end), *range(first, END)]
    assert f"the broker no longer has {end} to {first}, which a shard has not learnt" in caplog.text


def test_no_archive_where_one_is_needed_is_told(followed, monkeypatch):
    monkeypatch.setattr(followed.source._history._archive, "row_groups", [])
    monkeypatch.setattr(followed.source._history._archive, "refresh", lambda: False)
    followed.begin()
    with pytest.raises(ValueError, match="no example of the topic, which has lost its beginning"):
        followed.next()


def test_an_archive_of_another_topic_is_refused(followed):
    rows = [row for rows in rows_of([message(99, 1)], TOPIC) for row in rows]
    file = write(followed.folder, rows, hour=7)
    followed.begin(1)
    with pytest.raises(ValueError, match="up to 100, but the topic ends at 10: it is the archive of another"):
        followed.next()
    file.unlink()


def test_an_archive_that_went_on_while_it_was_looked_at_is_not_taken_for_anothers(followed, monkeypatch):
    watermarks, old = followed.source._watermarks, [(0, ARCHIVED - 1)]
    monkeypatch.setattr(
        followed.source, "_watermarks", lambda partition: old.pop() if old else watermarks(partition)
    )
    followed.begin(1)
    assert_each_comes_once_from(1, followed.everything())


def test_a_beginning_that_neither_has_is_told(followed, monkeypatch, caplog):
    first = followed.source._oldest(0)
    archive = followed.source._history._archive
    archive.refresh()
    others = [group._replace(extents={9: group.extents[0]}) for group in archive.row_groups]
    monkeypatch.setattr(archive, "row_groups", others)
    monkeypatch.setattr(archive, "refresh", lambda: False)
    followed.begin()
    batches = followed.everything()
    assert [m.offset for batch in batches for m in batch.messages] == [*range(first, END)]
    assert f"the broker no longer has 0 to {first}, which a shard has not learnt" in caplog.text
