"""What a replica tells Prometheus."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ps.arrays import Float32
from serving.freshness import Freshness
from serving.parameters import Parameters

_REQUEST_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_FRESHNESS_BUCKETS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0, 300.0, 3600.0)


class ReplicaMetrics:
    """The metrics of one replica, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.predictions = self._counter(
            "freshet_replica_predictions_total", "Requests answered with scores."
        )
        self.items = self._counter("freshet_replica_items_total", "Items scored.")
        self.refused = self._counter(
            "freshet_replica_refused_requests_total", "Requests answered with an error."
        )
        self.failed = self._counter(
            "freshet_replica_failed_requests_total", "Requests that broke the replica."
        )
        self.request = self._histogram(
            "freshet_replica_request_seconds", "Time to answer a prediction.", _REQUEST_BUCKETS_S
        )
        self.batch_requests = self._histogram(
            "freshet_replica_batch_requests", "Requests scored together.", (1, 2, 4, 8, 16, 32, 64, 128)
        )
        self._freshness = self._histogram(
            "freshet_replica_freshness_hist_seconds",
            "From a user's action to the first served score that used it.",
            _FRESHNESS_BUCKETS_S,
        )

    def observe_freshness(self, seconds: Float32) -> None:
        """Samples `float32[n]` that were served just now."""
        for value in seconds.tolist():
            self._freshness.observe(value)

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A gauge that asks `value` whenever it is read."""
        Gauge(name, help_text, registry=self.registry).set_function(value)

    def counted(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A counter that is kept elsewhere."""
        self.registry.register(_Counted(name, help_text, value))

    def follow(self, parameters: Parameters, freshness: Freshness) -> None:
        """Tell rows, memory and freshness too."""
        self.registry.register(_Measured(parameters, freshness))

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, help_text, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(name, help_text, registry=self.registry)


class _Counted(Collector):
    def __init__(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        self._metric = (name, help_text)
        self._value = value

    def collect(self) -> Iterator[Metric]:
        name, help_text = self._metric
        metric = Metric(name.removesuffix("_total"), help_text, "counter")
        metric.add_sample(name, {}, self._value())
        yield metric


class _Measured(Collector):
    """Counted when it is asked for."""

    def __init__(self, parameters: Parameters, freshness: Freshness) -> None:
        self._parameters = parameters
        self._freshness = freshness

    def collect(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily("freshet_replica_rows", "Rows of the table.", labels=["table"])
        for name, count in self._parameters.tables.rows().items():
            rows.add_metric([name], count)
        yield rows
        yield GaugeMetricFamily(
            "freshet_replica_memory_bytes", "Memory of all tables.", self._parameters.tables.memory_bytes()
        )
        yield self._quantiles()

    def _quantiles(self) -> Metric:
        """A summary: its quantiles are of the last minute, absent when nothing was served in it."""
        name = "freshet_replica_freshness_seconds"
        summary = Metric(name, "From a user's action to the first served score; last minute.", "summary")
        recent = self._freshness.last_minute()
        for quantile, value in (("0.5", recent.p50_s), ("0.99", recent.p99_s)):
            if value is not None:
                summary.add_sample(name, {"quantile": quantile}, value)
        summary.add_sample(f"{name}_count", {}, self._freshness.whole_run().count)
        summary.add_sample(f"{name}_sum", {}, self._freshness.sum_s)
        return summary
