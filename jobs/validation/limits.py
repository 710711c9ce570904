"""What bounds a table: whether its admission, limits and tier on disk go together."""

from collections.abc import Iterator

from jobs.document import KeyPath
from jobs.validation.shape import Finding
from ps.settings import LEAST_MEMORY_BYTES, AdmissionSettings, TableSettings


def limit_findings(path: KeyPath, table: TableSettings, shards: int) -> Iterator[Finding]:
    """What is wrong with the bounds of the table at `path`, of which each of `shards` has a part."""
    yield from _bounds(path, table)
    yield from _disk(path, table, shards)


def _bounds(path: KeyPath, table: TableSettings) -> Iterator[Finding]:
    where = (*path, "admission")
    admission = table.admission
    counts = admission.min_count > 1
    if counts and admission.probability < 1:
        message = "is one way of admission, min_count the other: leave one of them out"
        yield Finding((*where, "probability"), message, uses=((*where, "min_count"),), is_key=True)
    for name in ("window_s", "tracked_ids"):
        if not counts and getattr(admission, name) != AdmissionSettings.model_fields[name].default:
            message = "is not used: nothing is counted unless `min_count` is at least 2"
            uses = ((*where, "min_count"), (*where, name))
            yield Finding((*where, name), message, uses=uses, is_key=True)
    if table.when_full != "oldest" and table.max_rows is None and table.max_bytes is None:
        message = "is not used: without `max_rows` or `max_bytes` a table is never full"
        uses = ((*path, "max_rows"), (*path, "max_bytes"))
        yield Finding((*path, "when_full"), message, uses=uses, is_key=True)


def _disk(path: KeyPath, table: TableSettings, shards: int) -> Iterator[Finding]:
    if table.disk is None:
        return
    least_bytes = shards * LEAST_MEMORY_BYTES
    if table.disk.memory_bytes < least_bytes:
        message = f"must be at least {least_bytes}: {LEAST_MEMORY_BYTES} for each of {shards} shards"
        yield Finding((*path, "disk", "memory_bytes"), message, uses=(("ps", "shards"),))
    else:
        yield from _room_for_rows(path, table, shards)
    if table.max_bytes is not None:
        message = "is not used: of a table with a tier on disk `disk.memory_bytes` limits the memory"
        yield Finding((*path, "max_bytes"), message, uses=((*path, "disk"),), is_key=True)


def _room_for_rows(path: KeyPath, table: TableSettings, shards: int) -> Iterator[Finding]:
    # Loads the native table, which no other check needs.
    from ps.bounds import bounds_bytes, share_of
    from ps.tier import rows_beside_bounds

    part = share_of(table, shards)
    if part.disk is not None and rows_beside_bounds(part, part.disk.memory_bytes) < 1:
        message = (
            f"leaves no memory for rows: of {part.disk.memory_bytes} bytes for each of {shards} shards "
            f"`max_rows` and `admission` need {bounds_bytes(part)} (9 a row, 3.9 a tracked id)"
        )
        names = ("max_rows", "admission")
        uses = (("ps", "shards"), *((*path, name) for name in names))
        yield Finding((*path, "disk", "memory_bytes"), message, uses=uses)
