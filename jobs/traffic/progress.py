"""What traffic tells of itself: Prometheus metrics, and RUN/traffic.json for those that come later."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

FILE_NAME = "traffic.json"
INTERVAL_S = 1.0


class TrafficMetrics:
    """The metrics of one traffic source, served on `address` (host:port) when there is one."""

    def __init__(self, address: str | None) -> None:
        self._registry = CollectorRegistry()
        self._counted: dict[Counter, int] = {}
        self.requests = self._counter("requests", "Requests written to the features topic")
        self.impressions = self._counter("impressions", "Items shown in those requests")
        self.actions = self._counter("actions", "Reactions written to the actions topic")
        self.unscored = self._counter("unscored", "Requests that serving did not answer")
        self.request_seconds = Histogram(
            "freshet_traffic_request_seconds",
            "Time from asking serving to its answer, or to giving up",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=self._registry,
        )
        self.event_time_lag_seconds = Gauge(
            "freshet_traffic_event_time_lag_seconds",
            "How far the written event time is behind the clock that sets the pace",
            registry=self._registry,
        )
        self.close: Callable[[], None] = lambda: None
        if address is not None:
            host, port = address.rsplit(":", 1)
            server, thread = start_http_server(int(port), host, self._registry)

            def close() -> None:
                server.shutdown()
                server.server_close()
                thread.join()

            self.close = close

    def count(self, requests: int, impressions: int, actions: int, unscored: int) -> None:
        """Set the counters to these totals."""
        totals = (self.requests, requests), (self.impressions, impressions), (self.actions, actions)
        for counter, total in (*totals, (self.unscored, unscored)):
            counter.inc(total - self._counted.get(counter, 0))
            self._counted[counter] = total

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"freshet_traffic_{name}_total", text, registry=self._registry)


class ProgressFile:
    """RUN/traffic.json, replaced as a whole about once a second."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE_NAME
        self._next_s = 0.0

    def read(self) -> dict[str, Any]:
        """What an earlier source of this run left; empty when there was none, or when it can't be read."""
        try:
            left = orjson.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return left if isinstance(left, dict) else {}

    def due(self) -> bool:
        """Whether a second has passed since this was last true."""
        now = time.monotonic()
        if now < self._next_s:
            return False
        self._next_s = now + INTERVAL_S
        return True

    def write(self, progress: dict[str, Any]) -> None:
        """Replace the file."""
        # Never a half-written file: others read it at any moment.
        partial = self._path.with_suffix(".json.partial")
        partial.write_bytes(orjson.dumps(progress, option=orjson.OPT_INDENT_2))
        partial.replace(self._path)
