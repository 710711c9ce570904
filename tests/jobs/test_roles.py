"""What the job file says of the tables reaches the processes that have them."""

from pathlib import Path
from typing import Any

import pytest

from jobs.roles import run_role
from jobs.spec import Job
from tests.films import films


def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str, entry: str, **blocks: Any) -> Any:
    """What `role` calls `entry` with: its options, or its arguments by name."""
    calls: list[Any] = []
    monkeypatch.setattr(entry, lambda *options, **arguments: calls.append((*options, arguments)[0]))
    job = Job.model_validate(films(kafka={"bootstrap": "localhost:9092"}, **blocks))
    run_role(job, role, 0, tmp_path, resume=False)
    return calls[0]


def test_threads_reach_the_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block = {"addresses": ["127.0.0.1:1"], "shards": 1, "threads": 3}
    assert played(monkeypatch, tmp_path, "ps", "ps.server.run_shard", ps=block).threads == 3


def test_the_format_of_rows_reaches_the_replicas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block = {"addresses": ["127.0.0.1:1"], "rows": "int8"}
    got = played(monkeypatch, tmp_path, "replica", "serving.replica.run_replica", serving=block)
    assert got["serving"].rows == "int8"
