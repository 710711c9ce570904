"""How far each shard's series of updates has come here: what to apply, what to skip, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ps.updates import Update


class Verdict(Enum):
    """What an update is to the replica."""

    NEXT = "next"
    REPEAT = "repeat"
    """Applied before: a resend of the broker's, or one that a crash made us read again."""
    STALE = "stale"
    """Of an epoch that a later one has replaced."""
    GAP = "gap"
    """Updates before it are missing. It is applied all the same: rows are whole values, not differences."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """The last update of one shard that was applied; zeros before the first."""

    epoch: int = 0
    sequence: int = 0
    published_ms: int = 0
    marks: Mapping[int, int] = field(default_factory=dict)
    """Partition of `examples` to the next offset: everything before it is in the rows here."""
    gap: str | None = None
    """What is missing since the epoch began, in a sentence."""


def follow(progress: ShardProgress, update: Update) -> tuple[Verdict, ShardProgress]:
    """Judge `update` of the shard that has come to `progress`; the progress once it is applied.

    A new epoch starts at sequence 1 and forgets the gap of the one before: its shard has started again and
    sends all its rows anew.
    """
    if update.epoch < progress.epoch:
        return Verdict.STALE, progress
    begins = update.epoch > progress.epoch
    last, gap = (0, None) if begins else (progress.sequence, progress.gap)
    if update.sequence <= last:
        return Verdict.REPEAT, progress
    verdict = Verdict.NEXT
    if update.sequence > last + 1:
        verdict = Verdict.GAP
        gap = gap or _missing(update, last)
    after = ShardProgress(
        epoch=update.epoch,
        sequence=update.sequence,
        published_ms=update.published_ms,
        marks=update.marks or progress.marks,
        gap=gap,
    )
    return verdict, after


def _missing(update: Update, last: int) -> str:
    first, final = last + 1, update.sequence - 1
    which = f"update {first} is" if first == final else f"updates {first} to {final} are"
    remedy = "restart the shard, then it sends all its rows again"
    return f"shard {update.shard}, epoch {update.epoch}: {which} missing; {remedy}"
