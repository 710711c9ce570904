"""One member of one group for all tests: joining a group takes a broker seconds."""

import time

import pytest

from model.batches import Batch
from model.examples import ExampleSource
from pipelines.example_pb2 import ExampleList

TIMEOUT_S = 20
TOPIC = "examples-of-the-source"
Answer = list[dict[int, int]] | Exception


def encoded(*examples: bytes) -> bytes:
    return ExampleList(examples=list(examples)).SerializeToString()


class Followed:
    """A source, the topic it reads, and what the shards say when they are asked for their marks."""

    def __init__(self, broker) -> None:
        self._broker = broker
        self.end = 0
        self.answers: list[Answer] = []
        self.source = ExampleSource(
            bootstrap=broker.address,
            kafka_client={},
            topic=broker.make_topic(TOPIC),
            group="tests",
            worker=0,
            marks=self._marks,
        )

    def _marks(self) -> list[dict[int, int]]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def send(self, *values: bytes) -> int:
        """The position of the first."""
        self._broker.send(TOPIC, list(values))
        first, self.end = self.end, self.end + len(values)
        return first

    def begin(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.source.rewind()

    def next(self, batch_size: int = 100) -> Batch:
        """The next batch that holds a message."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            batch = self.source.poll(batch_size, max_wait_s=0.1)
            if batch is not None and batch.messages:
                return batch
        raise AssertionError("no batch came")


@pytest.fixture(scope="module")
def followed(broker):
    followed = Followed(broker)
    followed.answers = [[{}]]
    yield followed
    followed.source.close()


def test_reading_begins_at_the_beginning_when_no_shard_knows_the_partition(followed):
    followed.begin([{}, {}])
    followed.send(encoded(b"a", b"b"), encoded(b"c"))
    batch = followed.next()
    assert batch.examples[:3] == [b"a", b"b", b"c"]
    assert batch.spans == ((0, 0, followed.end),)


def test_reading_begins_at_the_lowest_mark_and_stops_at_the_others(followed):
    first = followed.send(*[encoded(bytes([i])) for i in range(4)])
    followed.begin([{0: first + 3}, {0: first + 1}])
    assert followed.next().spans == ((0, first + 1, first + 3),)
    assert followed.next().spans == ((0, first + 3, first + 4),)


def test_after_a_rewind_reading_begins_at_the_marks_of_that_moment(followed):
    first = followed.send(*[encoded(bytes([i])) for i in range(4)])
    followed.begin([{0: first}])
    assert followed.next(batch_size=1).spans == ((0, first, first + 1),)
    followed.begin([{0: first + 3}])
    assert followed.next().spans == ((0, first + 3, first + 4),)


def test_while_the_marks_are_not_to_be_had_nothing_is_read(followed):
    first = followed.send(encoded(b"a"))
    followed.begin(TimeoutError(), TimeoutError(), [{0: first}])
    for _ in range(2):
        with pytest.raises(TimeoutError):
            followed.source.poll(1, 0.1)
    assert followed.next().examples == [b"a"]


def test_a_message_that_is_no_list_is_counted_and_passed_over(followed):
    first = followed.send(b"\xff\xff", encoded(b"a"))
    followed.begin([{0: first}])
    batch = followed.next()
    assert batch.examples == [b"a"]
    assert batch.spans == ((0, first, first + 2),)
    assert followed.source.malformed == 1


def test_the_backlog_is_what_is_in_no_batch_yet(followed):
    first = followed.send(*[encoded(bytes([i])) for i in range(5)])
    followed.begin([{0: first}])
    followed.next(batch_size=2)
    assert followed.source.backlog() == 3
    followed.next()
    assert followed.source.backlog() == 0


def test_marks_beyond_the_end_of_the_topic_are_of_another_topic(followed):
    followed.begin([{0: 999}])
    with pytest.raises(ValueError, match=r"up to 999, but it ends at .* start them without their snapshots"):
        followed.next()
