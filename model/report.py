"""What a trainer tells Prometheus."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from model.metrics import Progress
from model.quality import Quality

_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_CACHED_S: Final = 0.9
"""A window's quality takes milliseconds of the trainer's time: no more than once a second."""


class TrainerMetrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self, progress: Progress) -> None:
        self.registry = CollectorRegistry()
        self.examples = self._counter("freshet_trainer_examples_total", "Examples learnt.")
        self.batches = self._counter("freshet_trainer_batches_total", "Batches learnt.")
        self.malformed = self._counter(
            "freshet_trainer_malformed_total",
            "Messages or examples that made no sense, or were too large, and taught nothing.",
        )
        self.rewinds = self._counter(
            "freshet_trainer_rewinds_total",
            "Returns to the shards' marks: they or the assignment had changed.",
        )
        self.step = Histogram(
            "freshet_trainer_step_seconds",
            "Time of a batch: lookup, step and push.",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._backlog_gauge = Gauge(
            "freshet_trainer_backlog_messages",
            "Messages of `examples` not learnt yet.",
            registry=self.registry,
        )
        self._newest_s = self._lag_s = 0.0
        self._backlog = self._malformed = 0
        lag = Gauge(
            "freshet_trainer_lag_seconds",
            "Between the join of the newest example learnt and its learning; grows while others wait.",
            registry=self.registry,
        )
        lag.set_function(self.lag_s)
        self.registry.register(_Qualities(progress))

    def learnt(self, examples: int, newest_joined_ms: int) -> None:
        """Count a batch; times are milliseconds since 1970."""
        self.batches.inc()
        self.examples.inc(examples)
        if examples:
            self._newest_s = newest_joined_ms / 1000
            self._lag_s = max(0.0, time.time() - self._newest_s)

    def reads(self, backlog: int, malformed: int) -> None:
        """What the source says: messages not learnt yet, and how many made no sense so far."""
        self._backlog = backlog
        self._backlog_gauge.set(backlog)
        self.malformed.inc(malformed - self._malformed)
        self._malformed = malformed

    def lag_s(self) -> float:
        """The lag of the newest example learnt, or, with others waiting, the time since it was joined."""
        if self._newest_s and self._backlog:
            return max(0.0, time.time() - self._newest_s)
        return self._lag_s

    def serve(self, address: str) -> str:
        """Answer at host:port (port 0: any free one); the URL."""
        host, _, port = address.rpartition(":")
        server, _ = start_http_server(int(port), host, registry=self.registry)
        return f"http://{host}:{server.server_port}/metrics"

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(name, help_text, registry=self.registry)


class _Qualities(Collector):
    """Quality by label and kind of score, computed when it is asked for; a label has what fits its kind."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._at = 0.0
        self._found: dict[tuple[str, str], Quality] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = self._qualities()
        yield _family(
            "freshet_trainer_auc", "AUC over the window of newest examples.", found, lambda q: q.auc
        )
        yield _family(
            "freshet_trainer_log_loss", "Log loss over the same window.", found, lambda q: q.log_loss
        )
        yield _family(
            "freshet_trainer_rmse",
            "Root of the mean squared error over the same window, of labels of kind number.",
            found,
            lambda q: q.rmse,
        )
        yield _family(
            "freshet_trainer_calibration_ratio",
            "Predicted over actual, of positives or of the sum of a number: 1 is right.",
            found,
            lambda q: q.calibration,
        )

    def _qualities(self) -> dict[tuple[str, str], Quality]:
        if time.monotonic() - self._at > _CACHED_S:
            windows = self._progress.windows
            judged = {key: window.quality() for key, window in windows.items()}
            self._found = {key: quality for key, quality in judged.items() if quality is not None}
            self._at = time.monotonic()
        return self._found


def _family(
    name: str, help_text: str, found: dict[tuple[str, str], Quality], value: Callable[[Quality], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=["label", "of"])
    for (label, of), quality in found.items():
        if (number := value(quality)) is not None:
            family.add_metric([label, of], number)
    return family
