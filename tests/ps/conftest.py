import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from ps.client import Push, Shards, Span
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import Shard
from tests.memory_broker import MemoryBroker
from tests.ps.served import Served, serve_shards

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parents[2]
TABLES = {
    "user": TableSettings(dim=3),
    "item/id": TableSettings(dim=2, optimizer=OptimizerSettings(kind="adam", learning_rate=0.1)),
    "hour": TableSettings(dim=1, optimizer=OptimizerSettings(kind="sgd")),
}


@pytest.fixture
def make_shard() -> Callable[..., Shard]:
    def make(index: int = 0, shards: int = 1, **options: Any) -> Shard:
        settings = {"tables": TABLES, "dense_optimizer": OptimizerSettings(kind="adam"), "seed": 7} | options
        return Shard(index, shards, **settings)

    return make


@pytest.fixture
def make_push() -> Callable[..., Push]:
    """A push of [first, next) of partition 0 with a gradient for `ids` of table user."""

    def make(first: int, next_: int, ids: list[int] = (), partition: int = 0, **fields: Any) -> Push:
        array = np.array(ids, np.int64)
        tables = {"user": (array, np.ones((len(array), 3), np.float32))}
        return Push(**({"spans": (Span(partition, first, next_),), "tables": tables} | fields))

    return make


@pytest.fixture
def contents() -> Callable[[Shard], Any]:
    """All that a shard holds, as plain values to compare."""

    def read(shard: Shard) -> Any:
        state = shard.state()
        rows = {
            name: sorted(
                row
                for t in chunks
                for row in zip(
                    t.ids.tolist(), t.rows.tolist(), t.last_update_ms.tolist(), t.count.tolist(), strict=True
                )
            )
            for name, chunks in state.tables.items()
        }
        dense = {name: tensor.tolist() for name, tensor in state.dense.items()}
        optimizer = {n: {k: v.tolist() for k, v in parts.items()} for n, parts in state.dense_state.items()}
        return rows, dense, optimizer, dict(state.marks)

    return read


@pytest.fixture
def serve(make_shard) -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:

        def start(shards: int = 1, **options: Any) -> Served:
            served = serve_shards([make_shard(i, shards, **options) for i in range(shards)])
            stack.callback(served.stop)
            return served

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., Shards]]:
    with ExitStack() as stack:
        yield lambda addresses, **options: stack.enter_context(Shards(addresses, **options))


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


RUN_SHARD = """
import sys, orjson
from pathlib import Path
from ps.server import ShardOptions, run_shard
from ps.settings import OptimizerSettings, SyncSettings, TableSettings
o = orjson.loads(sys.argv[1])
o["tables"] = {name: TableSettings(**t) for name, t in o["tables"].items()}
o["state_dir"] = Path(o["state_dir"])
o |= {"dense_optimizer": OptimizerSettings(kind="adam"), "sync": SyncSettings(**o["sync"])}
run_shard(ShardOptions(**o))
"""


class ShardProcess:
    """A real process of a shard, at an address that stays its own."""

    def __init__(self, options: dict[str, Any], log: Path) -> None:
        self.options = options
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.metrics = ""

    @property
    def address(self) -> str:
        return self.options["address"]

    def start(self, **options: Any) -> "ShardProcess":
        self.options |= options
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._arguments({}), stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        ready = self._process.stdout.readline()
        assert ready, self.log()
        self.options["address"] = json.loads(ready)["address"]
        self.metrics = json.loads(ready)["metrics"]
        return self

    def fail(self, **options: Any) -> str:
        """What another process says that can't start with these options."""
        failed = subprocess.run(
            self._arguments(options), capture_output=True, text=True, cwd=ROOT, timeout=30, check=False
        )
        assert failed.returncode == 1
        assert failed.stdout == ""
        return failed.stderr

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """The exit status after SIGTERM."""
        return self._end(signal.SIGTERM)

    def log(self) -> str:
        return self._log.read_text()

    def _arguments(self, options: dict[str, Any]) -> list[str]:
        return [sys.executable, "-c", RUN_SHARD, json.dumps(self.options | options)]

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process.stdout.close()
        self._process = None
        return status


@pytest.fixture
def shard_processes(tmp_path) -> Iterator[Callable[..., list[ShardProcess]]]:
    """Starts the processes of some shards with one table, `user`."""
    with ExitStack() as stack:

        def start(shards: int, **options: Any) -> list[ShardProcess]:
            settings = {
                "shards": shards,
                "address": "127.0.0.1:0",
                "metrics_address": "127.0.0.1:0",
                "tables": {"user": {"dim": 3}},
                "seed": 7,
                "sync": {"interval_s": 0.2},
                "snapshots_url": str(tmp_path),
                "snapshot_interval_s": 3600,
                "keep": 3,
                "bootstrap": None,
                "kafka_client": {},
                "updates_topic": "updates",
                "resume": False,
            }
            own = [{"index": i, "state_dir": str(tmp_path / f"state-{i}")} for i in range(shards)]
            processes = [
                ShardProcess(settings | own[i] | options, tmp_path / f"{i}.log") for i in range(shards)
            ]
            for process in processes:
                stack.callback(process.kill)
                process.start()
            return processes

        yield start
