"""The process of one shard: restore, serve, publish, write snapshots; the last two once more on SIGTERM."""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson
import pyarrow as pa
from confluent_kafka import KafkaException

from ps.bounds import BoundsError, ExpireRequest, Policy
from ps.dense_files import DenseFiles
from ps.metrics import ShardMetrics
from ps.service import ShardService
from ps.settings import OptimizerSettings, SyncSettings, TableSettings
from ps.shard import Shard, ShardBrokenError
from ps.signals import stop_on_signals
from ps.snapshot import Manifest, SnapshotError, SnapshotStore
from ps.sync import KafkaProducer, UpdatePublisher

_FORESEEN: Final = (OSError, pa.ArrowException, ShardBrokenError)
"""What a snapshot may fail of without a fault in the program."""
_SHOWN_IDS: Final = 20
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """What the process of shard `index` of `shards` is told."""

    index: int
    shards: int
    address: str
    """host:port."""
    metrics_address: str | None
    tables: Mapping[str, TableSettings]
    dense_optimizer: OptimizerSettings
    seed: int
    sync: SyncSettings
    snapshots_url: str
    snapshot_interval_s: float
    keep: int
    """Snapshots."""
    bootstrap: str | None
    """None: nothing is published."""
    kafka_client: Mapping[str, str]
    updates_topic: str
    resume: bool
    """Go on from the newest whole snapshot, if there is one."""
    initial_capacity_rows: int = 1024
    threads: int = 1
    state_dir: Path | None = None
    """See `Shard`."""


def run_shard(options: ShardOptions) -> None:
    """Be a shard until SIGTERM or SIGINT.

    Prints one line of JSON when it serves: `ready`, `address`, `metrics` (URL or null). Raises SystemExit
    with a sentence when it can't start; ends the process when it is done.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = stop_on_signals()
    try:
        _check_free(options.address)
        process = _start(options, stop)
    except KafkaException as error:
        raise SystemExit(f"shard {options.index}: kafka.client: {error.args[0].str()}") from error
    except (BoundsError, SnapshotError, OSError) as error:
        raise SystemExit(f"shard {options.index}: {error}") from error
    stop.wait()
    # A thread may sit in gRPC, waiting for a client that will not speak again: leave without asking it.
    _exit(process.finish())


def _start(options: ShardOptions, stop: threading.Event) -> "ShardProcess":
    """The process at work, with what the newest snapshot has if it is to go on from there."""
    shard = Shard(
        options.index,
        options.shards,
        options.tables,
        options.dense_optimizer,
        options.seed,
        initial_capacity_rows=options.initial_capacity_rows,
        threads=options.threads,
        state_dir=options.state_dir,
    )
    store = SnapshotStore(options.snapshots_url, options.index, options.keep)
    restored = store.restore(shard) if options.resume else None
    epoch, metrics = _begin(shard, restored), ShardMetrics(shard)
    process = ShardProcess(shard, epoch, store, _publisher(options, shard, epoch, metrics), metrics, stop)
    if restored is None:
        # An empty shard is worth a snapshot: a restart must not find only those of an older life.
        process.snapshot()
    process.start(
        options.address, options.metrics_address, options.sync.interval_s, options.snapshot_interval_s
    )
    return process


def _publisher(
    options: ShardOptions, shard: Shard, epoch: int, metrics: ShardMetrics
) -> UpdatePublisher | None:
    if options.bootstrap is None:
        return None
    producer = KafkaProducer(options.bootstrap, options.kafka_client)
    dense_files = DenseFiles(options.snapshots_url, options.index)
    published = metrics.published_rows.inc
    return UpdatePublisher(
        shard, producer, options.updates_topic, options.sync, dense_files, epoch, published
    )


class ShardProcess:
    """What runs beside the shard's streams: publishing, snapshots, metrics."""

    def __init__(
        self,
        shard: Shard,
        epoch: int,
        store: SnapshotStore,
        publisher: UpdatePublisher | None,
        metrics: ShardMetrics,
        stop: threading.Event,
    ) -> None:
        self._shard = shard
        self._epoch = epoch
        self._store = store
        self._publisher = publisher
        self._metrics = metrics
        self._stop = stop
        self._broken = False
        self._snapshot_lock = threading.Lock()
        self._snapshot_at = time.monotonic()
        self._threads: list[threading.Thread] = []
        metrics.gauge(
            "freshet_ps_publish_lag_seconds", "Age of the oldest change not published.", self._lag_s
        )
        metrics.gauge(
            "freshet_ps_snapshot_age_seconds", "Since the last snapshot, or the start.", self._snapshot_age_s
        )

    def start(
        self, address: str, metrics_address: str | None, publish_interval_s: float, snapshot_interval_s: float
    ) -> None:
        """Serve, and say so on stdout."""
        actions = {
            "marks": self.marks,
            "status": self.status,
            "snapshot": self.snapshot,
            "expire": self.expire,
        }
        service = ShardService(
            f"grpc://{address}", self._shard, self._epoch, self._metrics, actions, self._break
        )
        metrics_url = self._metrics.serve(metrics_address) if metrics_address else None
        self._run_every(snapshot_interval_s, self._try_snapshot)
        self._run_every(publish_interval_s, self._try_publish)
        host = address.rpartition(":")[0]
        ready = {"ready": True, "address": f"{host}:{service.port}", "metrics": metrics_url}
        print(orjson.dumps(ready).decode(), flush=True)

    def finish(self) -> int:
        """Publish and write a snapshot for the last time; the exit status."""
        for thread in self._threads:
            thread.join()
        if self._broken:
            return 1
        self._guard(self._try_publish)
        return 0 if self._try_snapshot() and not self._broken else 1

    def marks(self) -> dict[str, Any]:
        """The life of the shard, and its marks."""
        return {"epoch": self._epoch, "marks": self._shard.marks()}

    def status(self) -> dict[str, Any]:
        """What the shard says about itself."""
        tables = self._shard.tables
        return {
            "index": self._shard.index,
            "shards": self._shard.shards,
            "epoch": self._epoch,
            "marks": self._shard.marks(),
            "rows": {name: len(table) for name, table in tables.items()},
            "memory_bytes": {name: table.memory_bytes for name, table in tables.items()},
            "dense": {name: list(tensor.shape) for name, tensor in self._shard.dense().items()},
            "publish_lag_s": self._lag_s(),
            "snapshot_age_s": self._snapshot_age_s(),
        }

    def expire(self, **options: Any) -> dict[str, Any]:
        """Remove what has expired, and say what is left; with `dry_run` say what a policy would remove.

        `options` are those of ExpireRequest; raises ValueError when they make no sense.
        """
        request = ExpireRequest.model_validate(options)
        if not request.dry_run:
            self._shard.expire()
        names = list(self._shard.tables) if request.table is None else [request.table]
        fates = {name: self._fate(name, request.instead_of(self._shard.policy(name))) for name in names}
        return {"tables": fates}

    def _fate(self, name: str, policy: Policy) -> dict[str, Any]:
        """What `policy` would remove from a table now."""
        table = self._shard.table(name)
        ids, now_ms = table.would_remove(policy)
        return {
            **policy._asdict(),
            "rows": len(table),
            "now_ms": now_ms,
            "would_remove": len(ids),
            "ids": ids[:_SHOWN_IDS].tolist(),
        }

    def snapshot(self) -> dict[str, Any]:
        """Write a snapshot; what it holds."""
        with self._snapshot_lock:
            # Taken first: a replica that starts here reads a few updates twice rather than missing one.
            position = self._publisher.position if self._publisher else None
            manifest = self._store.write(self._shard, self._epoch, position)
            self._snapshot_at = time.monotonic()
        return {"created_ms": manifest.created_ms, "marks": manifest.marks}

    def _try_snapshot(self) -> bool:
        try:
            self.snapshot()
        # The shard is as it was, whatever has failed: the next one may do.
        except Exception as error:
            _log.error("no snapshot was written: %s", error, exc_info=not isinstance(error, _FORESEEN))
            self._metrics.failed_snapshots.inc()
            return False
        return True

    def _try_publish(self) -> None:
        try:
            if self._publisher is None:
                self._shard.forget_changes()
            elif not self._publisher.publish():
                self._metrics.failed_publishes.inc()
        except ShardBrokenError as error:
            _log.error("nothing was published: %s", error)
            self._break()

    def _run_every(self, interval_s: float, work: Callable[[], object]) -> None:
        def run() -> None:
            while not self._stop.wait(interval_s):
                self._guard(work)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guard(self, work: Callable[[], object]) -> None:
        """Do `work`; what it lets through ends the process: a shard that only looks alive helps nobody."""
        try:
            work()
        except BaseException:
            _log.critical("shard %d ends, to go on from its snapshot", self._shard.index, exc_info=True)
            self._break()

    def _break(self) -> None:
        self._broken = True
        self._stop.set()

    def _lag_s(self) -> float:
        return self._publisher.lag_s() if self._publisher else 0.0

    def _snapshot_age_s(self) -> float:
        return time.monotonic() - self._snapshot_at


def _begin(shard: Shard, restored: Manifest | None) -> int:
    """The epoch of the life that begins: later than any before."""
    if restored is None:
        _log.info("shard %d starts empty", shard.index)
        return _now_ms()
    when = datetime.fromtimestamp(restored.created_ms / 1000).isoformat(" ", "seconds")
    _log.info("shard %d goes on from the snapshot of %s, marks %s", shard.index, when, restored.marks)
    return max(restored.epoch + 1, _now_ms())


def _check_free(address: str) -> None:
    """Raise OSError when `address` is taken: gRPC itself would share the port with whoever has it."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise OSError(f"can't listen on {address}: {error.strerror}") from None


def _exit(status: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
