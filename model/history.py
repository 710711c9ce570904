"""What the topic no longer has, out of the archive, until the topic has what comes next."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from model.archive import Archive, Cursor, Gap, Sweep
from model.batches import Message

_LOOK_S: Final = 60.0
"""No more often is the archive looked at for new files, and the topic for its beginning."""
_log: Final = logging.getLogger(__name__)


class History:
    """Reads partitions from an archive: to its end, or to a gap that the topic can fill. For one thread."""

    def __init__(self, archive: Archive, oldest: Callable[[int], int]) -> None:
        """`oldest`: the first offset of a partition that the topic has; may raise, then `take` does."""
        self._archive = archive
        self._oldest = oldest
        self._clear()

    def _clear(self) -> None:
        self._cursors: dict[int, Cursor] = {}
        self._ended: dict[int, int] = {}
        self._lost: dict[int, int] = {}
        self._looked_s = -_LOOK_S

    @property
    def partitions(self) -> frozenset[int]:
        """Those that are read from the archive now."""
        return frozenset(self._cursors) | frozenset(self._ended)

    def begin(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, each from its position on, and no others. Raises OSError, ValueError."""
        self._clear()
        if positions:
            self._archive.refresh()
            if not self._archive.row_groups:
                raise ValueError(
                    f"trainer.archive: at {self._archive.url} is no example of the topic, which has lost its "
                    "beginning; leave it out to learn without that"
                )
            self._cursors = {p: self._archive.cursor(p, position) for p, position in positions.items()}
            _log.info("partitions %s from %s", sorted(positions), self._archive.url)
            self._sweep_anew()

    def end(self, partition: int) -> int:
        """The offset after the last example that the archive has of `partition`."""
        return self._archive.end(partition)

    def take(self, most: int) -> list[Message]:
        """Messages that come next, in the order of each partition's offsets; none: all have ended.

        Raises OSError, ValueError, and what `oldest` raises: then `begin` has to come first.
        """
        messages: list[Message] = []
        while self._cursors and len(messages) < most:
            step = next(self._steps, None)
            if isinstance(step, Message):
                messages.append(step)
            elif step is None:
                self._finish()
            elif not self._has_more():
                self._pass(step)
        return messages

    def pop_ended(self) -> dict[int, int]:
        """Partitions that the archive has no more of, and the offset from which the topic is to be read."""
        ended, self._ended = self._ended, {}
        return ended

    def _sweep_anew(self) -> None:
        self._sweep = Sweep(self._archive, self._cursors)
        self._steps: Iterator[Message | Gap] = iter(self._sweep)

    def _finish(self) -> None:
        if not self._has_more():
            for partition in tuple(self._cursors):
                self._leave(partition)

    def _has_more(self) -> bool:
        """Whether files have come since the last look, if that is a while ago; reading goes on with them."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return False
        self._firsts = {partition: self._oldest(partition) for partition in self._cursors}
        has_more = self._archive.refresh()
        self._looked_s = time.monotonic()
        if has_more:
            self._sweep_anew()
        return has_more

    def _pass(self, gap: Gap) -> None:
        """Go over to the topic, if it has anything of the gap, else to what the archive has behind it."""
        if gap.next > self._firsts[gap.partition]:
            self._leave(gap.partition)
            return
        if gap.partition not in self._lost:
            _log.warning(
                "partition %d: neither the archive nor the topic has the %d examples at offsets %d to %d",
                *(gap.partition, gap.examples, gap.first, gap.next),
            )
        self._lost[gap.partition] = self._lost.get(gap.partition, 0) + gap.examples

    def _leave(self, partition: int) -> None:
        self._ended[partition] = self._cursors[partition].offset
        self._sweep.leave(partition)
        if partition in self._lost:
            _log.warning(
                "partition %d: %d examples were neither in the archive nor in the topic, up to offset %d",
                *(partition, self._lost.pop(partition), self._ended[partition]),
            )
