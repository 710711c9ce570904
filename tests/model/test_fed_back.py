"""From an answer of serving back to the trainer: scores go round with the events, and are judged."""

import numpy as np
import orjson
import pytest
from prometheus_client import generate_latest

from jobs.traffic.visits import Reaction, Visit
from model.batches import Batch, Message
from model.features import table_settings
from model.metrics import Judgement, Progress
from model.network import Network
from model.report import TrainerMetrics
from model.score import Scorer
from model.settings import ModelSettings
from model.train import Trainer
from pipelines.codec import encode
from pipelines.example_pb2 import ExampleList
from pipelines.settings import JoinJob
from ps.client import Span
from ps.settings import TableSettings
from serving.freshness import Freshness
from serving.metrics import ReplicaMetrics
from serving.parameters import Parameters
from serving.requests import RequestReader
from serving.scoring import Scoring
from tests.pipelines.join.conftest import NOW_MS, Cluster

MODEL = ModelSettings(hidden=(8,))
EXPECTED = {"click": 0.0, "play": 40.0}
"""What the model is made to say, before the sigmoid if there is one; rows add little to it."""


@pytest.fixture
def served(mixed, tmp_path):
    """`served(body)`: the items of a replica's answer, each id with its scores."""
    tables = table_settings(mixed, {}, TableSettings(dim=4))
    scorer = Scorer(mixed, MODEL, tables, seed=1)
    dense = {**scorer.initial_dense(), "bias": np.array(list(EXPECTED.values()), np.float32)}
    parameters = Parameters(tmp_path, tables, 1, dense)
    scoring = Scoring(scorer, parameters, 1, Freshness(1), ReplicaMetrics())
    reader = RequestReader(mixed, max_items=100)

    def answer(body: bytes) -> dict[int, dict[str, float]]:
        (answer,) = scoring.answer([reader.read(body)])
        return {item["item_id"]: item["scores"] for item in orjson.loads(answer)["items"]}

    yield answer
    parameters.close()


def test_a_number_is_served_as_it_is_and_its_score_comes_back_to_be_judged(mixed, served, make_shards):
    """Every other item is played, for its id in seconds."""
    schema = mixed.model_dump(by_alias=True)
    cluster = Cluster(JoinJob.model_validate({"name": "numbers", "kafka": {}, "schema": schema}))
    off = []
    for number in range(20):
        items = [{"item_id": 10 * number + i} for i in range(10)]
        visit = Visit(f"r{number}", NOW_MS, {"user_id": number}, {}, items)
        scores = served(visit.question())
        cluster.send(visit.encode(scores))
        for item_id, of_item in scores.items():
            assert 0 < of_item["click"] < 1
            assert of_item["play"] == pytest.approx(EXPECTED["play"], abs=5)
            played = float(item_id) if item_id % 2 else 0.0
            if played:
                play = Reaction(item_id, "play", NOW_MS + 1, NOW_MS + 1, played)
                cluster.send(play.encode(visit.request_id), is_action=True)
            off.append(of_item["play"] - played)
    cluster.finish()
    examples = [bytes(each) for m in encode(cluster.examples) for each in ExampleList.FromString(m).examples]

    progress = Progress({name: Judgement(label.kind, 0) for name, label in mixed.labels.items()}, 1000)
    metrics = TrainerMetrics(progress)
    network = Network(mixed, MODEL, table_settings(mixed, {}, TableSettings(dim=4)), seed=1)
    trainer = Trainer(mixed, network, make_shards(mixed), progress, metrics)
    trainer.marks()
    trainer.learn(Batch((Span(0, 0, 1),), (Message(0, 0, tuple(examples)),)))
    judged = progress.windows["play", "served"].quality()
    assert judged.examples == len(off) == 200
    assert judged.rmse == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=1e-4)
    assert 'freshet_trainer_rmse{label="play",of="served"}' in generate_latest(metrics.registry).decode()
