"""Which messages of `examples` make the next batch, so that every shard learns each of them once.

A shard applies a push only if its span begins at the shard's mark, ignores it if it ends at or before the
mark, and refuses it otherwise; and the spans of one push must all be new to it or all be repeats. Shards that
come back from snapshots have different marks. So reading starts at the lowest mark of a partition, no batch
reaches across a mark that lies ahead (a *cut*), and a partition with a cut ahead is alone in its batch.

Offsets have gaps, since a transaction's end takes one, too. Spans have none: one begins where the last ended.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ps.client import Span


class Message(NamedTuple):
    """One message of `examples`: where it stands, and its serialized examples; perhaps none."""

    partition: int
    offset: int
    examples: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are learnt together, and the spans they cover."""

    spans: tuple[Span, ...]
    messages: tuple[Message, ...]

    @property
    def examples(self) -> list[bytes]:
        """All serialized examples, in order."""
        return [example for message in self.messages for example in message.examples]

    def halves(self) -> tuple["Batch", "Batch"]:
        """The first half of the messages, at least two, and the rest, whose spans go on where it ends."""
        middle = len(self.messages) // 2
        first, rest = self.messages[:middle], self.messages[middle:]
        ends = {message.partition: message.offset + 1 for message in first}
        cuts = {message.partition: ends.get(message.partition, 0) for message in rest}
        halfway = [max(span.first, cuts.get(span.partition, span.next)) for span in self.spans]
        before = (span._replace(next=cut) for span, cut in zip(self.spans, halfway, strict=True))
        after = (span._replace(first=cut) for span, cut in zip(self.spans, halfway, strict=True))
        return Batch(_not_empty(before), first), Batch(_not_empty(after), rest)


def _not_empty(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(span for span in spans if span.first < span.next)


@dataclass(slots=True)
class _Partition:
    position: int
    """Where the next span begins."""
    cuts: deque[int]
    """Marks beyond `position`, ascending."""
    messages: deque[Message] = field(default_factory=deque)


class Batcher:
    """Collects messages of the assigned partitions and hands them out in batches."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def place(self, partition: int, position: int, marks: Iterable[int]) -> None:
        """Go on with `partition` at `position`; nothing may reach across one of `marks` that lies ahead."""
        ahead = sorted({mark for mark in marks if mark > position})
        self._partitions[partition] = _Partition(position, deque(ahead))

    def clear(self) -> None:
        """Forget all partitions and what came of them."""
        self._partitions.clear()

    def add(self, message: Message) -> None:
        """Take one message; ignored when its partition is not placed, or placed beyond it."""
        partition = self._partitions.get(message.partition)
        if partition is not None and message.offset >= partition.position:
            partition.messages.append(message)

    @property
    def waiting_examples(self) -> int:
        """Examples that are in no batch yet."""
        return sum(len(m.examples) for partition in self._partitions.values() for m in partition.messages)

    def waiting_messages(self, partition: int) -> int:
        """Messages of `partition` that are in no batch yet."""
        found = self._partitions.get(partition)
        return len(found.messages) if found else 0

    def take(self, limit: int) -> Batch | None:
        """The next batch: whole messages with up to `limit` examples in all, at least one message."""
        ready = {number: p for number, p in self._partitions.items() if p.messages}
        for number, partition in ready.items():
            if partition.cuts:
                return _take_to_cut(number, partition, limit)
        return _take_together(ready, limit) if ready else None


def _take_to_cut(number: int, partition: _Partition, limit: int) -> Batch:
    cut = partition.cuts[0]
    messages = _take(partition, limit, cut)
    is_past = bool(partition.messages) and partition.messages[0].offset >= cut
    end = cut if is_past else messages[-1].offset + 1
    if end >= cut:
        partition.cuts.popleft()
    return Batch((_advance(number, partition, end),), messages)


def _take_together(ready: dict[int, _Partition], limit: int) -> Batch:
    spans: list[Span] = []
    messages: list[Message] = []
    for number, partition in ready.items():
        taken = _take(partition, limit, None)
        limit -= sum(len(message.examples) for message in taken)
        if taken:
            spans.append(_advance(number, partition, taken[-1].offset + 1))
            messages += taken
    return Batch(tuple(spans), tuple(messages))


def _take(partition: _Partition, limit: int, end: int | None) -> tuple[Message, ...]:
    taken: list[Message] = []
    while partition.messages and limit > 0 and (end is None or partition.messages[0].offset < end):
        taken.append(partition.messages.popleft())
        limit -= len(taken[-1].examples)
    return tuple(taken)


def _advance(number: int, partition: _Partition, end: int) -> Span:
    span = Span(number, partition.position, end)
    partition.position = end
    return span
