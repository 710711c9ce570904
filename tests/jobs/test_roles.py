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


@pytest.mark.parametrize(
    ("role", "entry"), [("trainer", "model.train.run_trainer"), ("replica", "serving.replica.run_replica")]
)
def test_the_order_of_features_and_labels_in_the_file_reaches_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, role: str, entry: str
) -> None:
    """A model's tensors lie in it: another order would mix up what was learnt."""
    ps, serving = {"addresses": ["127.0.0.1:1", "127.0.0.1:2"]}, {"addresses": ["127.0.0.1:3"]}
    schema = films()["schema"]
    schema["labels"] = {"seen": schema["labels"]["click"], **schema["labels"]}
    turned = {block: dict(reversed(each.items())) for block, each in schema.items()}
    orders = [
        [list(block.items()) for block in (got.features, got.crosses, got.labels)]
        for each in (schema, turned)
        for got in [played(monkeypatch, tmp_path, role, entry, schema=each, ps=ps, serving=serving)["schema"]]
    ]
    assert orders[0] == orders[1]
