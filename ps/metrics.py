"""What a shard tells Prometheus."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ps.shard import Shard
from ps.tier import TieredTable

_BUCKETS_S: Final = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    5.0,
)
_WINDOW_S: Final = 60.0
_MAX_RECENT: Final = 20_000


class RecentTimes:
    """Durations of the last minute, for a quantile that follows the present."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=_MAX_RECENT)

    def add(self, seconds: float) -> None:
        """One duration that ended now."""
        self._times.append((time.monotonic(), seconds))

    def p99_s(self) -> float:
        """The 99th percentile; 0 when there was none in the last minute."""
        oldest = time.monotonic() - _WINDOW_S
        recent = [seconds for at, seconds in list(self._times) if at >= oldest]
        return float(np.percentile(recent, 99)) if recent else 0.0


class ShardMetrics:
    """The metrics of one shard, in a registry of their own."""

    def __init__(self, shard: Shard) -> None:
        self.registry = CollectorRegistry()
        self.lookup_times = RecentTimes()
        self.lookup = self._histogram("freshet_ps_lookup_seconds", "Time of a pull within the shard.")
        self.push = self._histogram("freshet_ps_push_seconds", "Time of a push within the shard.")
        self.pushes = self._counter("freshet_ps_pushes_total", "Pushes applied.")
        self.repeated = self._counter("freshet_ps_repeated_pushes_total", "Pushes ignored as repeats.")
        self.refused = self._counter("freshet_ps_refused_pushes_total", "Pushes refused: not at the marks.")
        self.malformed = self._counter("freshet_ps_malformed_requests_total", "Requests that made no sense.")
        self.published_rows = self._counter(
            "freshet_ps_published_rows_total", "Rows the broker acknowledged."
        )
        self.failed_publishes = self._counter(
            "freshet_ps_failed_publishes_total", "Cuts the broker did not acknowledge; sent again."
        )
        self.failed_snapshots = self._counter("freshet_ps_failed_snapshots_total", "Snapshots not written.")
        self.gauge("freshet_ps_lookup_p99_seconds", "Of the last minute.", self.lookup_times.p99_s)
        self.registry.register(_TableSizes(shard))
        self.registry.register(_BadGradients(shard))
        self.registry.register(_Tiers(shard))

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that asks `value` whenever it is read."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    @contextmanager
    def timed_lookup(self) -> Iterator[None]:
        """Times a pull."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.lookup.observe(seconds)
        self.lookup_times.add(seconds)

    def serve(self, address: str) -> str:
        """Answer at host:port (port 0: any free one); the URL."""
        host, _, port = address.rpartition(":")
        server, _ = start_http_server(int(port), host, registry=self.registry)
        return f"http://{host}:{server.server_port}/metrics"

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=_BUCKETS_S, registry=self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(name, help_text, registry=self.registry)


class _TableSizes(Collector):
    """Rows and memory by table, counted when they are asked for."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        rows = GaugeMetricFamily("freshet_ps_rows", "Rows of the table.", labels=["table"])
        memory = GaugeMetricFamily("freshet_ps_memory_bytes", "Memory of the table.", labels=["table"])
        for name, table in self._shard.tables.items():
            rows.add_metric([name], len(table))
            memory.add_metric([name], table.memory_bytes)
        yield from (rows, memory)
        yield from _bounds_counts(self._shard)


class _BadGradients(Collector):
    """What became of NaN, infinite and absurd gradients, by table."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def collect(self) -> Iterator[CounterMetricFamily]:
        skipped = CounterMetricFamily(
            "freshet_ps_skipped_rows", "Rows left out of a push: bad gradients.", labels=["table"]
        )
        clipped = CounterMetricFamily(
            "freshet_ps_clipped_rows", "Rows whose bad gradients were clipped.", labels=["table"]
        )
        for name, table in self._shard.tables.items():
            skipped.add_metric([name], table.skipped_rows)
            clipped.add_metric([name], table.clipped_rows)
        yield from (skipped, clipped)
        dense = zip(("skipped", "clipped"), self._shard.bad_dense_gradients, strict=True)
        for what, tensors in dense:
            yield CounterMetricFamily(
                f"freshet_ps_{what}_tensors", f"Dense tensors whose bad gradients were {what}.", tensors
            )


def _bounds_counts(shard: Shard) -> Iterator[CounterMetricFamily]:
    """What the tables' bounds have done, since the shard started."""
    admitted = _family("admitted_ids", "Ids that got a row, of a table with bounds.", ["table"])
    refused = _family("refused_sightings", "Ids of a push that got no row.", ["table", "reason"])
    removed = _family("removed_rows", "Rows that were removed.", ["table", "reason"])
    overflows = _family("admission_overflows", "Times that a filter was full, and its window cut.", ["table"])
    for name, table in shard.tables.items():
        counts = table.bounds_counts()
        admitted.add_metric([name], counts.admitted)
        refused.add_metric([name, "admission"], counts.refused)
        refused.add_metric([name, "full"], counts.full)
        removed.add_metric([name, "expired"], counts.expired)
        removed.add_metric([name, "evicted"], counts.evicted)
        overflows.add_metric([name], counts.overflows)
    yield from (admitted, refused, removed, overflows)


def _family(name: str, help_text: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"freshet_ps_{name}", help_text, labels=labels)


class _Tiers(Collector):
    """What tables with a tier on disk have there, and have moved."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        rows = GaugeMetricFamily("freshet_ps_disk_rows", "Rows that are not in memory.", labels=["table"])
        files = GaugeMetricFamily("freshet_ps_disk_bytes", "Files of such rows.", labels=["table"])
        back = CounterMetricFamily("freshet_ps_promoted_rows", "Rows that came back.", labels=["table"])
        gone = CounterMetricFamily("freshet_ps_demoted_rows", "Rows that went to disk.", labels=["table"])
        for name, table in self._shard.tables.items():
            if isinstance(table, TieredTable):
                rows.add_metric([name], table.rows.on_disk)
                files.add_metric([name], table.rows.cold.bytes_on_disk)
                back.add_metric([name], table.rows.promoted)
                gone.add_metric([name], table.rows.demoted)
        yield from (rows, files, back, gone)
