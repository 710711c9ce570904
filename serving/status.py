"""What a replica says of itself: whether it is ready, what it waits for, what went wrong."""

import time
from functools import partial
from typing import Any

from serving.dense import DenseLoader
from serving.freshness import Freshness, Quantiles
from serving.metrics import ReplicaMetrics
from serving.parameters import Parameters
from serving.progress import Verdict
from serving.updates import UpdatesConsumer


class Status:
    """The state of one replica, asked for at any time."""

    def __init__(
        self,
        index: int,
        parameters: Parameters,
        consumer: UpdatesConsumer,
        dense: DenseLoader,
        freshness: Freshness,
        metrics: ReplicaMetrics,
    ) -> None:
        self._index = index
        self._parameters = parameters
        self._consumer = consumer
        self._dense = dense
        self._freshness = freshness
        self._started = time.time()
        self._add_metrics(metrics)

    def waiting_for(self) -> list[str]:
        """Why the replica is not ready, a sentence each; none: it is."""
        reasons = []
        if not self._consumer.is_alive():
            reasons.append("the thread that applies updates has ended, and so does this replica: see the log")
        if not self._consumer.caught_up:
            reasons.append(f"waiting for {self._consumer.waiting_for}")
        if self._parameters.dense.current.version is None:
            missing = ", ".join(self._parameters.dense.missing())
            reasons.append(f"waiting for the first dense parameters from the shards: {missing}")
        return reasons + [f"updates were lost: {gap}" for gap in self._gaps()]

    def report(self) -> dict[str, Any]:
        """Everything, for people and programs."""
        whole, recent = self._freshness.whole_run(), self._freshness.last_minute()
        waiting_for = self.waiting_for()
        return {
            "replica": self._index,
            "ready": not waiting_for,
            "waiting_for": waiting_for,
            "started": self._started,
            "freshness_p50_ms": _ms(whole.p50_s),
            "freshness_p99_ms": _ms(whole.p99_s),
            "freshness": {"whole_run": _quantiles(whole), "last_minute": _quantiles(recent)},
            "updates": self._updates(),
            "shards": {str(shard): _shard(p) for shard, p in sorted(self._parameters.progress.items())},
            "tables": {name: {"rows": rows} for name, rows in self._parameters.tables.rows().items()},
            "memory_bytes": self._parameters.tables.memory_bytes(),
            "dense": {
                "version": self._parameters.dense.current.version,
                "missing": self._parameters.dense.missing(),
                "failures": self._dense.failures,
                "last_error": self._dense.last_error,
            },
            "frozen": self._parameters.frozen is not None,
        }

    def _updates(self) -> dict[str, Any]:
        counts, consumer = self._consumer.counts, self._consumer
        return {
            "applied": counts[Verdict.NEXT] + counts[Verdict.GAP],
            "repeated": counts[Verdict.REPEAT],
            "stale": counts[Verdict.STALE],
            "gaps": counts[Verdict.GAP],
            "refused": consumer.refused,
            "caught_up": consumer.caught_up,
            "backlog_messages": consumer.backlog_messages,
            "lag_s": round(consumer.lag_s(), 3),
            "last_error": consumer.last_error,
        }

    def _gaps(self) -> list[str]:
        return [p.gap for p in self._parameters.progress.values() if p.gap]

    def _add_metrics(self, metrics: ReplicaMetrics) -> None:
        consumer, counts = self._consumer, self._consumer.counts
        metrics.follow(self._parameters, self._freshness)
        metrics.gauge(
            "freshet_replica_lag_seconds", "How far the rows are behind the shards.", consumer.lag_s
        )
        metrics.gauge(
            "freshet_replica_backlog_messages", "Updates not applied yet.", lambda: consumer.backlog_messages
        )
        metrics.gauge("freshet_replica_ready", "1: ready.", lambda: float(not self.waiting_for()))
        for verdict, what in (
            (Verdict.NEXT, "Updates applied in sequence."),
            (Verdict.REPEAT, "Updates skipped as repeats."),
            (Verdict.STALE, "Updates skipped: of an epoch that was replaced."),
            (Verdict.GAP, "Updates before which others were missing."),
        ):
            name = f"freshet_replica_{verdict.value}_updates_total"
            metrics.counted(name, what, partial(counts.__getitem__, verdict))
        metrics.counted(
            "freshet_replica_refused_updates_total", "Updates that made no sense.", lambda: consumer.refused
        )
        metrics.counted(
            "freshet_replica_dense_failures_total",
            "Failed reads of dense files.",
            lambda: self._dense.failures,
        )


def _quantiles(quantiles: Quantiles) -> dict[str, float | None]:
    return {"count": quantiles.count, "p50_ms": _ms(quantiles.p50_s), "p99_ms": _ms(quantiles.p99_s)}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _shard(progress: Any) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "sequence": progress.sequence,
        "published_ms": progress.published_ms,
        "marks": {str(partition): place for partition, place in progress.marks.items()},
        "gap": progress.gap,
    }
