"""What Flink says of the joiner: what waits in it, how far its event time is, and its checkpoints."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.samples import Sample

from jobs.scrape import total

WATERMARK: Final = "currentInputWatermark"
GAUGES: Final = tuple(
    f"freshet_joiner_{name}" for name in ("waiting_requests", "waiting_bytes", "pool_items")
)
_OPERATOR: Final = "join"
_NO_TIME_MS: Final = 1 << 62
"""Flink says ±2^63 before the first event and after the last; no event is as far away as this."""


@dataclass(frozen=True, slots=True)
class Joiner:
    """The joiner at one moment; what is not known is None."""

    state: str | None
    """As Flink calls it: RUNNING, RESTARTING, …"""
    waiting_requests: int | None
    """Requests and early actions in state; engine `jvm` only, as the next two."""
    waiting_bytes: int | None
    pool_items: int | None
    watermark_lag_s: float | None
    """The clock less event time: what is older counts as late."""
    checkpoint_age_s: float | None
    checkpoint_s: float | None
    """How long the newest one took."""
    checkpoint_bytes: int | None
    """Of the whole state in it."""


def joiner_of(
    samples: Iterable[Sample], job: Mapping[str, Any], checkpoints: Mapping[str, Any], at: float
) -> Joiner:
    """From the samples of the TaskManagers, the job in Flink's `/jobs/overview`, and its `/checkpoints`."""
    samples = list(samples)
    waiting_requests, waiting_bytes, pool_items = (_whole(total(samples, name)) for name in GAUGES)
    now_ms = watermark_ms(samples)
    newest = (checkpoints.get("latest") or {}).get("completed") or {}
    acknowledged_ms = newest.get("latest_ack_timestamp")
    return Joiner(
        state=job.get("state"),
        waiting_requests=waiting_requests,
        waiting_bytes=waiting_bytes,
        pool_items=pool_items,
        watermark_lag_s=None if now_ms is None else at - now_ms / 1000,
        checkpoint_age_s=None if acknowledged_ms is None else max(0.0, at - acknowledged_ms / 1000),
        checkpoint_s=_seconds(newest.get("end_to_end_duration")),
        checkpoint_bytes=_whole(newest.get("state_size")),
    )


def watermark_ms(samples: Iterable[Sample]) -> float | None:
    """Event time of the join: of its subtasks that which is furthest behind. None: it has none."""
    values = [
        sample.value
        for sample in samples
        if sample.name.endswith(WATERMARK) and sample.labels.get("operator_name") == _OPERATOR
    ]
    earliest = min(values, default=math.nan)
    return earliest if abs(earliest) < _NO_TIME_MS else None


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else int(value)


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
