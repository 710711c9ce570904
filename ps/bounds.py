"""What keeps a table small: admission, expiry and limits, from its settings to what the native table does.

What they promise, and by which numbers: `docs/bounds.md`.
"""

import math
from typing import Final, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ps import _core
from ps.arrays import Bytes, Int64, Uint32
from ps.settings import AdmissionSettings, Block, DiskSettings, TableSettings, WhenFull

MAX_ROWS: Final = (1 << 32) - 2
SLICE_ROWS: Final = 4096
ROOM_ROWS: Final = 4 * SLICE_ROWS
DISK_SLICE_ROWS: Final = 128
DISK_ROOM_ROWS: Final = 4 * DISK_SLICE_ROWS
"""Of rows on disk: to look at one takes 9 µs, to remove it as much again, in memory a tenth or less."""
_CLOCK_ROWS: Final = 31
_SLABS_BYTES: Final = 4 << 20
_FIXED_BYTES: Final = 8 << 20
_METADATA_BYTES: Final = 12
_MAP_BYTES: Final = 22
"""Slots of the map at its lowest load."""
ROSTER_BYTES: Final = 9
"""The place in the sweep's order."""


class BoundsError(ValueError):
    """Bounds that make no sense."""


class BoundsState(NamedTuple):
    """What the bounds remember: `int64[n]`, `int64[m]`, `uint8[k]`; all empty: there are none."""

    numbers: Int64
    roster: Int64
    filter: Bytes


class Policy(NamedTuple):
    """What may be tried without doing it; None: no such bound."""

    after_s: float | None = None
    max_rows: int | None = None
    when_full: WhenFull = "oldest"


class Removable(NamedTuple):
    """What a policy would remove: ids `int64[m]`, expired ones first, and the time that judges them."""

    ids: Int64
    now_ms: int | None


class ExpireRequest(Block):
    """The options of a shard's action `expire`; limits are those of its part of the table."""

    dry_run: bool = False
    table: str | None = None
    """None: all tables."""
    after_s: float | None = Field(default=None, gt=0)
    """Try this in place of what the job file says; None: what it says."""
    max_rows: int | None = Field(default=None, ge=0)
    when_full: WhenFull | None = None

    @model_validator(mode="after")
    def _only_tried(self) -> Self:
        if not self.dry_run and self.model_fields_set - {"dry_run"}:
            raise ValueError("a table or a policy other than the job file's is only for a dry_run")
        return self

    def instead_of(self, policy: Policy) -> Policy:
        """`policy` with what this request names in its place."""
        named = {name: getattr(self, name) for name in Policy._fields}
        return policy._replace(**{name: value for name, value in named.items() if value is not None})


def has_bounds(settings: TableSettings) -> bool:
    """Whether any of the bounds is set."""
    limits = (settings.expiry.after_s, settings.max_rows, settings.max_bytes)
    return _is_gated(settings.admission) or any(limit is not None for limit in limits)


def without_bounds(settings: TableSettings) -> TableSettings:
    """`settings` with none of them."""
    names = ("admission", "expiry", "max_rows", "max_bytes")
    return settings.model_copy(update={name: TableSettings.model_fields[name].default for name in names})


def bounds_bytes(settings: TableSettings) -> int:
    """What bounds take of memory beside the rows, when there are `max_rows` of them; without, at first."""
    return _filter_bytes(settings) + ROSTER_BYTES * (settings.max_rows or 0)


def slice_rows(settings: TableSettings) -> int:
    """How many rows a batch looks at for expiry."""
    return DISK_SLICE_ROWS if settings.disk else SLICE_ROWS


def room_rows(settings: TableSettings) -> int:
    """How many rows a batch looks at to make room, unless twice its new ids are more."""
    return DISK_ROOM_ROWS if settings.disk else ROOM_ROWS


def share_of(settings: TableSettings, shards: int) -> TableSettings:
    """The settings of one shard's part of a table: limits divided by `shards`, those of rows rounded up."""

    def part(limit: int | None) -> int | None:
        return None if limit is None else -(-limit // shards)

    admission = settings.admission.model_copy(update={"tracked_ids": part(settings.admission.tracked_ids)})
    limits = {"max_rows": part(settings.max_rows), "max_bytes": part(settings.max_bytes)}
    disk = settings.disk and DiskSettings(memory_bytes=settings.disk.memory_bytes // shards)
    return settings.model_copy(update={"admission": admission, "disk": disk, **limits})


def native_config(settings: TableSettings, row_floats: int, seed: int) -> _core.BoundsConfig:
    """The bounds of a table with rows of `row_floats` floats; raises BoundsError when they make no sense."""
    admission = settings.admission
    if admission.min_count > 1 and admission.probability < 1:
        raise BoundsError("admission: either min_count or probability may be given, and not both")
    return _core.BoundsConfig(
        min_count=admission.min_count,
        window_ms=round(1000 * admission.window_s),
        tracked_ids=admission.tracked_ids,
        probability=admission.probability,
        expire_after_ms=round(1000 * (settings.expiry.after_s or 0)),
        max_rows=_most_rows(settings, row_floats),
        when_full=getattr(_core.WhenFull, settings.when_full),
        slice_rows=slice_rows(settings),
        room_rows=room_rows(settings),
        seed=seed & 0xFFFF_FFFF_FFFF_FFFF,
    )


def rows_in(memory_bytes: int, row_floats: int, listed_bytes: int = 0) -> int:
    """Rows that never take more than `memory_bytes`, whatever the order in which they came and went.

    Each takes its floats, 12 bytes of metadata, at most 22 of the map, and `listed_bytes` elsewhere. Slabs
    that are used in part take as much as the rows again, at most a slab for each of the 64 segments; small
    maps and rounding up to huge pages take 8 MiB.
    """
    stored_bytes = 4 * row_floats + _METADATA_BYTES
    index_bytes = _MAP_BYTES + listed_bytes
    room = memory_bytes - _FIXED_BYTES - _apart_bytes(row_floats)
    slabs_bytes = _SLABS_BYTES // (4 * row_floats) * stored_bytes
    few = min(room // (2 * stored_bytes + index_bytes), slabs_bytes // stored_bytes)
    many = (room - slabs_bytes) // (stored_bytes + index_bytes)
    return max(few, many)


def _apart_bytes(row_floats: int) -> int:
    """Of slabs used in part: the metadata of rows shorter than it, which fills more pages than they do."""
    return max(0, _SLABS_BYTES * _METADATA_BYTES // (4 * row_floats) - _SLABS_BYTES)


def removable(
    policy: Policy, ids: Int64, last_update_ms: Int64, counts: Uint32, now_ms: int | None
) -> Removable:
    """Which of the rows `ids` `int64[n]` a policy would remove.

    `now_ms` None: no clock, as in a table without bounds. Then it is the median of the 31 newest updates; of
    fewer rows nothing has expired.
    """
    if now_ms is None and len(ids) >= _CLOCK_ROWS:
        newest = np.partition(last_update_ms, -_CLOCK_ROWS)[-_CLOCK_ROWS:]
        now_ms = int(np.sort(newest)[_CLOCK_ROWS // 2])
    expired = np.zeros(len(ids), np.bool_)
    if policy.after_s is not None and now_ms is not None:
        ages_ms = now_ms - last_update_ms.astype(np.float64)
        expired = ages_ms > 1000 * policy.after_s
    left = np.flatnonzero(~expired)
    excess = 0 if policy.max_rows is None else max(0, len(left) - policy.max_rows)
    if policy.when_full == "refuse":
        excess = 0
    rank = counts[left] if policy.when_full == "least_frequent" else np.zeros(len(left), np.uint32)
    least_first = np.lexsort((last_update_ms[left], rank))
    return Removable(np.concatenate([ids[expired], ids[left[least_first[:excess]]]]), now_ms)


def _most_rows(settings: TableSettings, row_floats: int) -> int:
    most = min(MAX_ROWS, settings.max_rows or MAX_ROWS)
    if settings.max_bytes is None:
        return most
    fits = rows_in(settings.max_bytes - _filter_bytes(settings), row_floats, ROSTER_BYTES)
    if fits < 1:
        row_bytes = 2 * (4 * row_floats + _METADATA_BYTES) + _MAP_BYTES + ROSTER_BYTES
        least = _FIXED_BYTES + _apart_bytes(row_floats) + _filter_bytes(settings) + row_bytes
        raise BoundsError(f"max_bytes: {settings.max_bytes} hold no row; at least {least} are needed")
    return min(most, fits)


def _is_gated(admission: AdmissionSettings) -> bool:
    return admission.min_count > 1 or admission.probability < 1


def _filter_bytes(settings: TableSettings) -> int:
    admission = settings.admission
    return 0 if admission.min_count == 1 else math.ceil(admission.tracked_ids * 14 * 10 / 36) + 64
