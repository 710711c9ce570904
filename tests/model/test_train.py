import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import orjson
import pytest
from prometheus_client import generate_latest

from model.batches import Batch, Message
from model.features import table_settings
from model.metrics import Judgement, Progress
from model.network import Network
from model.parse import ExampleParser
from model.report import TrainerMetrics
from model.settings import ModelSettings, TrainerSettings
from model.train import Trainer, _archive, freshness_samples
from pipelines.example_pb2 import ExampleList
from ps.client import PushRefused, Span
from ps.settings import TableSettings
from tests.model.processes import SHARDS
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
MODEL = ModelSettings(hidden=(8,))
TIMEOUT_S = 60


@pytest.fixture
def make_trainer(small):
    def make(shards, schema=small) -> Trainer:
        network = Network(schema, MODEL, table_settings(schema, {}, TableSettings(dim=4)), seed=1)
        progress = Progress({name: Judgement(each.kind, 0) for name, each in schema.labels.items()}, 2000)
        return Trainer(schema, network, shards, progress, TrainerMetrics(progress))

    return make


@pytest.fixture
def make_batches(small, make_example):
    """Batches of examples in which a user's clicks depend on the item's parity."""

    def make(count: int, size: int = 100) -> list[Batch]:
        rng, batches = np.random.default_rng(1), []
        for number in range(count):
            pairs = rng.integers(0, (20, 50), (size, 2)).tolist()
            examples = tuple(
                make_example(small, {"user_id": u}, {}, {"item_id": i}, click=float((u + i) % 2 == 0))
                for u, i in pairs
            )
            batches.append(Batch((Span(0, number, number + 1),), (Message(0, number, examples),)))
        return batches

    return make


def test_the_model_learns_what_it_could_not_know(small, make_shards, make_trainer, make_batches):
    trainer = make_trainer(make_shards(small))
    trainer.marks()
    for batch in make_batches(150):
        trainer.learn(batch)
    window = trainer._progress.windows["click", "fresh"]
    assert window.quality().auc > 0.95
    assert window.quality().calibration == pytest.approx(1, abs=0.1)


def test_a_batch_that_comes_again_changes_nothing(small, make_shards, make_trainer, make_batches):
    shards = make_shards(small)
    trainer = make_trainer(shards)
    trainer.marks()
    first, second = make_batches(2)
    trainer.learn(first)
    trainer.learn(second)
    before = [shard.state().dense["bias"] for shard in shards.shards if "bias" in shard.dense()]
    trainer.learn(first)
    after = [shard.state().dense["bias"] for shard in shards.shards if "bias" in shard.dense()]
    assert before == after
    assert shards.marks() == [{0: 2}, {0: 2}]


def test_a_batch_from_elsewhere_is_refused(small, make_shards, make_trainer, make_batches):
    trainer = make_trainer(make_shards(small))
    trainer.marks()
    first, _, third = make_batches(3)
    trainer.learn(first)
    with pytest.raises(PushRefused):
        trainer.learn(third)


def test_messages_without_examples_move_the_marks(small, make_shards, make_trainer):
    shards = make_shards(small)
    make_trainer(shards).learn(Batch((Span(0, 0, 3),), (Message(0, 2, ()),)))
    assert shards.marks() == [{0: 3}, {0: 3}]


def make_batch(number: int, *examples: bytes) -> Batch:
    return Batch((Span(0, number, number + 1),), (Message(0, number, examples),))


def test_a_number_is_learnt_beside_a_probability(mixed, make_example, make_shards, make_trainer):
    """Odd items are clicked and played for 3, others not at all."""
    trainer = make_trainer(make_shards(mixed), mixed)
    trainer.marks()
    rng = np.random.default_rng(1)
    for number in range(150):
        batch = []
        for item in rng.integers(0, 20, 50).tolist():
            labels = {"click": float(item % 2), "play": 3.0 * (item % 2)}
            acted = {} if item % 2 else {"otherwise:play": 1.0}
            features = {"item_id": item, **acted}
            masks = {"click": 1.0, "play": 1.0}
            batch.append(
                make_example(mixed, {}, {}, {"item_id": item}, labels=labels, masks=masks, features=features)
            )
        trainer.learn(make_batch(number, *batch))
    found = {label: trainer._progress.windows[label, "fresh"].quality() for label in mixed.labels}
    assert found["click"].auc > 0.99
    assert found["play"].rmse < 0.5
    assert found["play"].calibration == pytest.approx(1, abs=0.1)
    page = generate_latest(trainer.metrics.registry).decode()
    assert 'freshet_trainer_rmse{label="play",of="fresh"}' in page
    assert 'freshet_trainer_auc{label="play",of="fresh"}' not in page
    assert 'freshet_trainer_rmse{label="click",of="fresh"}' not in page


def test_a_draw_from_the_pool_touches_no_row_and_no_tensor(small, make_example, make_shards, make_trainer):
    def example(item: int, **changes) -> bytes:
        return make_example(small, {"user_id": 1}, {}, {"item_id": item}, click=1.0, **changes)

    draw = {"labels": {"click": 0.0}, "masks": {"click": 0.0}}
    shards = {name: make_shards(small) for name in ("with", "without")}
    for name, found in shards.items():
        trainer = make_trainer(found)
        trainer.marks()
        drawn = [example(7, **draw)] if name == "with" else []
        trainer.learn(make_batch(0, example(3), *drawn))
        trainer.learn(make_batch(1, *drawn))
        assert found.marks() == [{0: 2}, {0: 2}]
        assert trainer.metrics.examples._value.get() == 1
    for one, other in zip(shards["with"].shards, shards["without"].shards, strict=True):
        assert len(one.table("item_id")) == len(other.table("item_id"))
        for name, tensor in one.dense().items():
            np.testing.assert_array_equal(tensor, other.dense()[name])


def test_freshness_counts_from_the_log_when_the_action_is_replayed(small, make_example):
    hour_ms = 3_600_000
    times = [(5_000, 5_100), (5_000, 5_000 + 2 * hour_ms), (0, 0)]
    examples = tuple(
        make_example(
            small, {}, {}, {"item_id": 1}, float(acted > 0), action_ts_ms=acted, action_logged_ts_ms=logged
        )
        for acted, logged in times
    )
    batch = Batch((Span(1, 0, 9),), (Message(1, 4, examples[:1]), Message(1, 8, examples[1:])))
    found = freshness_samples(batch, ExampleParser(small).parse(batch.examples), np.array([True]))
    assert found == [(1, 4, 5_000), (1, 8, 5_000 + 2 * hour_ms)]


def test_what_waited_for_its_window_says_nothing_of_freshness(mixed, make_example):
    """`play` takes the last of its actions."""
    both = {"click": 1.0, "play": 1.0}
    changes = [
        {"masks": {"click": 0.0, "play": 1.0}},
        {"masks": {"click": 0.0, "play": 0.0}},
        {"masks": both, "labels": {"click": 0.0, "play": 1.0}},
        {"masks": both, "labels": {"click": 1.0, "play": 1.0}},
    ]
    examples = [
        make_example(mixed, {}, {}, {"item_id": 1}, **{"labels": both, "action_ts_ms": 5_000} | each)
        for each in changes
    ]
    batch = Batch((Span(0, 0, 4),), tuple(Message(0, i, (each,)) for i, each in enumerate(examples)))
    found = freshness_samples(batch, ExampleParser(mixed).parse(batch.examples), np.array([True, False]))
    assert [offset for _, offset, _ in found] == [3]


def test_an_archive_on_a_file_system_that_nobody_knows_is_named():
    with pytest.raises(SystemExit, match=r"trainer 1: trainer\.archive: ftp://b/x: .*ftp"):
        _archive(1, TrainerSettings(archive="ftp://b/x"), "examples")


TRAINER = """
import sys
from pipelines.schema import ExampleSchema
from model.features import table_settings
from model.settings import ModelSettings, TrainerSettings
from model.train import run_trainer
from ps.settings import TableSettings

schema = ExampleSchema.model_validate_json(sys.argv[1])
run_trainer(
    worker=0, schema=schema, tables=table_settings(schema, {}, TableSettings(dim=4)),
    model=ModelSettings(hidden=(8,)), trainer=TrainerSettings(batch_size=50), seed=1,
    shard_addresses=[sys.argv[2]], bootstrap=sys.argv[3], kafka_client={}, examples_topic=sys.argv[4],
    metrics_address="127.0.0.1:0", group=sys.argv[4],
)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a script in a process of its own and waits for its ready line."""
    running = []

    def start(script: str, *arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        running.append(process)
        line = process.stdout.readline()
        assert line, (tmp_path / "log").read_text()
        return process, orjson.loads(line)

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def metric(url: object, name: str) -> float:
    lines = urllib.request.urlopen(str(url)).read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


@pytest.mark.stack
def test_a_shard_that_falls_back_learns_again_what_it_forgot_and_no_more(
    small, broker, make_batches, start, tmp_path
):
    topic = broker.make_topic("examples-of-the-trainer")
    values = [ExampleList(examples=batch.examples).SerializeToString() for batch in make_batches(20, 10)]
    schema = small.model_dump_json(by_alias=True)
    snapshots = (tmp_path / "snapshots").as_uri()
    shard, said = start(SHARDS, schema, "127.0.0.1:0", snapshots)
    address = said["address"]
    trainer, told = start(TRAINER, schema, address, broker.address, topic)

    def learnt() -> float:
        return metric(told["metrics"], "freshet_trainer_examples_total")

    broker.send(topic, values[:10])
    wait_for(lambda: learnt() == 100, "the trainer to learn", TIMEOUT_S)
    # Its only snapshot is the empty one of its start: all it has learnt is lost.
    shard.kill()
    shard.wait()
    start(SHARDS, schema, address, snapshots)
    broker.send(topic, values[10:])
    wait_for(lambda: learnt() >= 300, "the trainer to learn", TIMEOUT_S)
    assert learnt() == 300
    assert metric(told["metrics"], "freshet_trainer_rewinds_total") >= 1
    assert metric(told["metrics"], "freshet_trainer_backlog_messages") == 0
    trainer.send_signal(signal.SIGTERM)
    assert trainer.wait(TIMEOUT_S) == 0
