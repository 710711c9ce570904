"""How far each shard's series of updates has come here: what to apply, what to skip, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ps.updates import Position, Update


class Verdict(Enum):
    """What an update is to the replica."""

    NEXT = "next"
    REPEAT = "repeat"
    """Applied before: a resend of the broker's, or one that a crash made us read again."""
    STALE = "stale"
    """Of a life or an epoch that a later one has replaced."""
    GAP = "gap"
    """Updates before it are missing. It is applied all the same: rows are whole values, not differences."""


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """The last update of one shard that was applied; zeros before the first."""

    life: int = 0
    epoch: int = 0
    sequence: int = 0
    published_ms: int = 0
    marks: Mapping[int, int] = field(default_factory=dict)
    """Partition of `examples` to the next offset: everything before it is in the rows here."""
    whole: Position = field(default_factory=Position)
    """Of what the shard has sent in this life, nothing up to here is missing."""
    gap: str | None = None
    """What is missing, in a sentence."""
    complete: int = 0
    """The newest life all of whose rows have come: those of an older one the shard has lost."""
    shards: int = 0
    """How many shards there were in that life."""


def follow(progress: ShardProgress, update: Update) -> tuple[Verdict, ShardProgress]:
    """Judge `update` of the shard that has come to `progress`; the progress once it is applied.

    A new life forgets what was missing: the shard has started again and sends all its rows anew. A new epoch
    of the same life forgets it only when it sends it again: when it follows what is whole here. A life is
    complete only where nothing is missing: what is missing may have been rows of it.
    """
    if (update.life, update.epoch) < (progress.life, progress.epoch):
        return Verdict.STALE, progress
    if update.life > progress.life:
        progress = ShardProgress(
            life=update.life, marks=progress.marks, complete=progress.complete, shards=progress.shards
        )
    if update.epoch == progress.epoch and update.sequence <= progress.sequence:
        return Verdict.REPEAT, progress
    missing = _missing(progress, update)
    gap = None if _sends_again(progress, update) else progress.gap or missing
    is_complete = update.complete and not gap
    after = ShardProgress(
        life=update.life,
        epoch=update.epoch,
        sequence=update.sequence,
        published_ms=update.published_ms,
        marks=update.marks or progress.marks,
        whole=progress.whole if gap else Position(update.epoch, update.sequence),
        gap=gap,
        complete=update.life if is_complete else progress.complete,
        shards=update.shards if is_complete else progress.shards,
    )
    return (Verdict.GAP if missing else Verdict.NEXT), after


def _missing(progress: ShardProgress, update: Update) -> str | None:
    """What should have come between the two, in a sentence; None: nothing."""
    begins = update.epoch > progress.epoch
    first, final = 1 if begins else progress.sequence + 1, update.sequence - 1
    if begins and update.after > Position(progress.epoch, progress.sequence):
        which = f"updates up to epoch {update.after.epoch}, sequence {update.after.sequence} are"
    elif first > final:
        return None
    else:
        which = f"update {first} is" if first == final else f"updates {first} to {final} are"
    remedy = "restart the shard, then it sends all its rows again"
    return f"shard {update.shard}, epoch {update.epoch}: {which} missing; {remedy}"


def _sends_again(progress: ShardProgress, update: Update) -> bool:
    """Whether all that is missing here comes with the epoch that `update` begins."""
    return update.epoch > progress.epoch and update.sequence == 1 and update.after <= progress.whole
