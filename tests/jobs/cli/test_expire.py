"""`freshet expire` against shards in this process."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ps.metrics import ShardMetrics
from ps.router import shard_of
from ps.server import ShardProcess
from ps.service import ShardService
from ps.settings import ExpirySettings, OptimizerSettings, TableSettings
from ps.shard import Shard
from tests.films import films
from tests.jobs.command import invoke

NOW_MS = 1_764_000_000_000
HOUR_MS = 3_600_000
TABLES = {
    "user_id": TableSettings(dim=2, expiry=ExpirySettings(after_s=7200)),
    "item_id": TableSettings(dim=2),
}


class Shards:
    """Two shards that serve, with an id for each hour; the newest is 39 hours younger than the oldest."""

    def __init__(self) -> None:
        self.shards = [Shard(i, 2, TABLES, OptimizerSettings(), 7) for i in range(2)]
        self._services = [self._serve(shard) for shard in self.shards]
        self.addresses = [f"127.0.0.1:{service.port}" for service in self._services]
        ids = np.arange(40)
        for i in ids:
            for shard, owned in zip(self.shards, (0, 1), strict=True):
                mine = ids[i : i + 1][shard_of(ids[i : i + 1], 2) == owned]
                for table in shard.tables.values():
                    table.assign(mine, np.ones((len(mine), 2), np.float32), NOW_MS + int(i) * HOUR_MS)

    def advance(self) -> None:
        """All clocks to the newest hour."""
        for shard in self.shards:
            for _ in range(31):
                shard.tables["user_id"].apply_gradients(
                    np.empty(0, np.int64), np.empty((0, 2), np.float32), NOW_MS + 39 * HOUR_MS
                )

    def rows(self, table: str) -> int:
        return sum(len(shard.tables[table]) for shard in self.shards)

    def close(self) -> None:
        for service in self._services:
            service.shutdown()
            vars(service).clear()

    @staticmethod
    def _serve(shard: Shard) -> ShardService:
        metrics = ShardMetrics(shard)
        process: Any = ShardProcess(shard, 1, None, None, metrics, threading.Event())  # type: ignore[arg-type]
        actions = {"expire": process.expire}
        return ShardService("grpc://127.0.0.1:0", shard, 1, metrics, actions, lambda: None)


@pytest.fixture
def shards() -> Iterator[Shards]:
    made = Shards()
    yield made
    made.close()


@pytest.fixture
def job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], str]:
    monkeypatch.chdir(tmp_path)

    def write(addresses: list[str], path: Path = Path("films.yaml")) -> str:
        kafka = {"bootstrap": "127.0.0.1:1"} if addresses else {}
        job = films(kafka=kafka, ps={"shards": 2, "addresses": addresses})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(job))
        return str(path)

    return write


def expire(*arguments: str) -> tuple[int, str]:
    return invoke("expire", *arguments)


def test_by_default_it_shows_what_the_job_file_would_remove_and_removes_nothing(shards, job_file):
    shards.advance()
    before = shards.rows("user_id")
    status, output = expire(job_file(shards.addresses))
    assert status == 0
    assert "What would go (nothing has)" in output
    (user,) = [line for line in output.splitlines() if "user_id" in line]
    assert f"│ {before} │" in " ".join(user.split())
    assert "after 7,200 s" in user
    assert "2025-11-26 07:00:00" in user
    assert shards.rows("user_id") == before


def test_a_policy_can_be_tried_on_one_table_that_has_none(shards, job_file):
    status, output = expire(job_file(shards.addresses), "--table", "item_id", "--max-rows", "10", "--json")
    told = json.loads(output)
    assert (status, told["dry_run"], list(told["tables"])) == (0, True, ["item_id"])
    fate = told["tables"]["item_id"]
    assert (fate["rows"], fate["max_rows"], fate["would_remove"]) == (40, 10, 30)
    assert set(fate["ids"]) <= set(range(35))
    told = json.loads(expire("films.yaml", "--after-s", "3600", "--json")[1])
    assert told["tables"]["item_id"]["after_s"] == 3600
    assert shards.rows("item_id") == 40


def test_yes_removes_what_has_expired(shards, job_file):
    shards.advance()
    old = shards.rows("user_id")
    status, output = expire(job_file(shards.addresses), "--yes", "--json")
    fate = json.loads(output)["tables"]["user_id"]
    assert status == 0
    assert shards.rows("user_id") == 3
    assert (fate["rows"], fate["removed"]) == (old, old - 3)
    assert shards.rows("item_id") == 40
    assert "What has gone" in expire("films.yaml", "--yes")[1]


def test_the_shards_of_a_local_run_are_those_of_its_own_job_file(shards, job_file, monkeypatch):
    monkeypatch.setattr("jobs.stack.record.Record.is_alive", True)
    job_file(shards.addresses, Path("runs/films-1/job.yaml"))
    Path("runs/films-1/roles.json").write_text(json.dumps({"job": "films", "state": "running"}))
    Path("runs/films-latest").symlink_to("films-1")
    told = json.loads(expire(job_file([]), "--json")[1])
    assert told["tables"]["user_id"]["rows"] == shards.rows("user_id")


def test_without_a_run_it_says_so(job_file):
    assert expire(job_file([])) == (2, "Error: there is no run 'films'; runs here: none.\n")
    Path("runs/films-1").mkdir(parents=True)
    Path("runs/films-1/roles.json").write_text(json.dumps({"job": "films", "state": "stopped"}))
    Path("runs/films-latest").symlink_to("films-1")
    status, output = expire("films.yaml")
    assert status == 1
    assert output.startswith("Error: films is not running: its newest run (")
    assert ") is stopped. Start it with `freshet run`" in output


def test_shards_that_do_not_answer_are_named(job_file, monkeypatch):
    monkeypatch.setattr("jobs.expiry._RECONNECT_S", 0.1)
    status, output = expire(job_file(["127.0.0.1:1", "127.0.0.1:2"]))
    assert status == 1
    assert "Error: shard 0 at 127.0.0.1:1 can't be reached: " in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "usr"], "Error: --table usr: the job has the tables item_id, user_id."),
        (["--yes", "--max-rows", "5"], "--yes removes what the job file says"),
        (["--after-s", "0"], "0 is not in the range x>0"),
    ],
)
def test_what_makes_no_sense_is_bad_input(arguments, message, shards, job_file):
    status, output = expire(job_file(shards.addresses), *arguments)
    assert status == 2
    assert message in " ".join(output.split())
