"""What runs beside a shard's streams never ends unnoticed."""

import threading
from types import SimpleNamespace

import pytest

from ps.metrics import ShardMetrics
from ps.server import ShardProcess

TIMEOUT_S = 10


class Work:
    """A publisher, or a store of snapshots, that fails with what it is given."""

    position = None

    def __init__(self, *failures: BaseException) -> None:
        self._failures = list(failures)
        self.done = threading.Semaphore(0)

    def publish(self) -> bool:
        return bool(self._work())

    def write(self, *_: object) -> SimpleNamespace:
        return self._work()

    def lag_s(self) -> float:
        return 0.0

    def _work(self) -> SimpleNamespace:
        if self._failures:
            raise self._failures.pop(0)
        self.done.release()
        return SimpleNamespace(created_ms=1, marks={})


@pytest.fixture
def start(make_shard, monkeypatch):
    """Starts the threads of a shard; its process, and what asks it to stop."""
    monkeypatch.setattr("ps.server.ShardService", lambda *_: SimpleNamespace(port=1))
    stops = []

    def start(publisher: Work, store: Work) -> tuple[ShardProcess, threading.Event]:
        shard, stop = make_shard(), threading.Event()
        process = ShardProcess(shard, 1, store, publisher, ShardMetrics(shard), stop)
        stops.append(stop)
        process.start("127.0.0.1:1", None, 0.001, 0.001)
        return process, stop

    yield start
    for stop in stops:
        stop.set()


@pytest.mark.parametrize("failure", [MemoryError, RuntimeError, SystemExit])
def test_whatever_ends_the_publisher_ends_the_shard_with_a_word(start, caplog, failure):
    process, stop = start(Work(failure()), Work())
    assert stop.wait(TIMEOUT_S)
    assert process.finish() == 1
    assert "shard 0 ends, to go on from its snapshot" in caplog.text
    assert failure.__name__ in caplog.text


@pytest.mark.parametrize("failure", [MemoryError, OSError, RuntimeError])
def test_a_snapshot_that_failed_is_tried_again(start, caplog, failure):
    store = Work(failure())
    process, stop = start(Work(), store)
    assert store.done.acquire(timeout=TIMEOUT_S)
    assert not stop.is_set()
    stop.set()
    assert process.finish() == 0
    assert "no snapshot was written" in caplog.text


def test_a_failure_in_the_last_publication_costs_no_snapshot(start, caplog):
    publisher, store = Work(), Work()
    process, stop = start(publisher, store)
    assert publisher.done.acquire(timeout=TIMEOUT_S)
    stop.set()
    for thread in process._threads:
        thread.join()
    publisher._failures.append(MemoryError())
    store.done = threading.Semaphore(0)
    assert process.finish() == 1
    assert store.done.acquire(blocking=False)
    assert "MemoryError" in caplog.text
