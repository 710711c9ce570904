"""A replica as its users meet it: a process, HTTP, a broker, and a kill -9."""

import math
import sys
import time

import numpy as np
import pytest

from ps.dense_files import DenseFiles
from ps.updates import Sample
from tests.serving.conftest import Replica

pytestmark = pytest.mark.stack


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_cold_replica_answers_with_initial_values_and_says_what_it_waits_for(start_replica, until):
    replica = start_replica()
    answer = replica.predict(1, 10, 11)
    assert [item["item_id"] for item in answer["items"]] == [10, 11]
    assert [item["scores"] for item in answer["items"]] == [{"click": 0.5}] * 2
    assert answer["request_id"] == "r"
    assert answer["parameters"] == {"age_ms": None, "dense_version": None}
    status, ready = replica.ask("GET", "/readyz")
    assert status == 503
    assert "waiting for the first dense parameters from the shards: bias" in ready["waiting_for"]


def test_scores_follow_rows_and_dense_versions(start_replica, shards, until):
    replica = start_replica()
    shards[0].publish({"user_id": {1: 2.0}, "item_id": {10: 1.0}})
    version = shards[0].publish_dense(-1.0)
    shards[1].publish({"item_id": {11: -2.0}})
    replica.wait_ready()
    replica.wait_applied(3)
    answer = replica.predict(1, 10, 11)
    scores = [item["scores"]["click"] for item in answer["items"]]
    assert scores == pytest.approx([sigmoid(2), sigmoid(-1)])
    assert answer["parameters"]["dense_version"] == version
    assert 0 <= answer["parameters"]["age_ms"] < 20_000

    shards[0].publish(deleted={"item_id": np.array([10])})
    until(lambda: replica.score(1, 10) == pytest.approx(sigmoid(1)), "the deleted row is gone")


def test_a_frozen_copy_answers_beside_the_live_parameters_until_the_next_freeze(start_replica, shards, until):
    replica = start_replica()
    shards[0].publish({"item_id": {10: 1.0}})
    shards[0].publish_dense(0.0)
    replica.wait_ready()
    assert replica.ask("POST", "/v1/freeze")[0] == 200
    shards[0].publish({"item_id": {10: 3.0}})
    until(lambda: replica.score(1, 10) == pytest.approx(sigmoid(3)), "the new row is served")
    assert replica.score(1, 10, "click@frozen") == pytest.approx(sigmoid(1))

    replica.kill()
    replica = start_replica()
    assert replica.score(1, 10, "click@frozen") == pytest.approx(sigmoid(1))
    assert replica.ask("POST", "/v1/freeze")[0] == 200
    assert replica.score(1, 10, "click@frozen") == pytest.approx(sigmoid(3))


def test_a_killed_replica_goes_on_from_where_it_was(start_replica, shards):
    replica = start_replica()
    shards[0].publish({"item_id": {10: 1.0}})
    version = shards[0].publish_dense(0.5)
    replica.wait_ready()
    replica.wait_applied(2)
    replica.kill()
    shards[0].publish({"item_id": {11: 2.0}})
    replica = start_replica()
    assert replica.score(1, 10) == pytest.approx(sigmoid(1.5))
    replica.wait_ready()
    status = replica.wait_applied(1)
    assert replica.score(1, 11) == pytest.approx(sigmoid(2.5))
    assert replica.predict(1, 11)["parameters"]["dense_version"] == version
    assert status["updates"] | {"applied": 1, "repeated": 0, "gaps": 0} == status["updates"]
    assert replica.stop() == 0


def test_dense_tensors_that_are_missing_at_a_stop_are_wanted_again_but_not_when_the_log_is_another(
    start_replica, launch, broker, shards, tmp_path, until
):
    reference = DenseFiles((tmp_path / "ps").as_uri(), 0).write({"bias": np.zeros(1, np.float32)})
    (tmp_path / "ps").rename(tmp_path / "away")
    replica = start_replica()
    shards[0].publish(dense=reference)
    until(lambda: replica.get("/v1/status")["dense"]["failures"], "the file is missed")
    replica.kill()
    replica = start_replica()
    until(lambda: replica.get("/v1/status")["dense"]["failures"], "it is missed again")
    replica.kill()
    replica = launch(broker.make_topic("updates-of-another-log"), tmp_path)
    until(lambda: replica.get("/v1/status")["updates"]["caught_up"], "caught up")
    assert not replica.get("/v1/status")["dense"]["failures"]


FAILING = """
import sys
from tests.serving import fake_replica
from serving.parameters import Parameters

def fail(*_):
    raise ValueError("no such error was foreseen")

Parameters.apply = fail
fake_replica.main(*sys.argv[1:])
"""


def test_an_error_that_nobody_foresaw_ends_the_replica_with_its_traceback(broker, topic, shards, tmp_path):
    log = tmp_path / "replica.log"
    arguments = [str(tmp_path / "state"), broker.address, topic, "127.0.0.1:0"]
    replica = Replica([sys.executable, "-c", FAILING, *arguments], log)
    shards[0].publish()
    assert replica.process.wait(20) == 1
    replica.process.stdout.close()
    assert "ValueError: no such error was foreseen" in log.read_text()
    assert "thread updates of this replica has died" in log.read_text().splitlines()[-1]


def test_freshness_runs_from_the_action_to_the_answer_that_used_it(start_replica, shards, until):
    replica = start_replica()
    acted_ms = time.time_ns() // 1_000_000 - 2000
    shards[0].publish(marks={0: 5}, samples=(Sample(0, 4, acted_ms),))
    replica.wait_applied(1)
    replica.predict(1, 10)
    assert replica.get("/v1/status")["freshness_p50_ms"] is None
    shards[1].publish(marks={0: 5})
    replica.wait_applied(2)
    assert replica.get("/v1/status")["freshness_p50_ms"] is None
    replica.predict(1, 10)
    status = replica.get("/v1/status")
    assert status["freshness"]["whole_run"]["count"] == 1
    assert 2000 <= status["freshness_p50_ms"] < 20_000
    metrics = replica.get("/metrics")
    assert 'freshet_replica_freshness_seconds{quantile="0.5"} ' in metrics
    assert "freshet_replica_freshness_hist_seconds_count 1.0" in metrics


def test_lost_updates_make_the_replica_unready_until_the_shard_starts_again(start_replica, shards, until):
    replica = start_replica()
    shards[0].publish_dense(0.0)
    replica.wait_ready()
    shards[0].publish({"item_id": {10: 1.0}}, sequence=4)
    until(lambda: replica.ask("GET", "/readyz")[0] == 503, "the gap is told")
    reason = replica.get("/readyz")["waiting_for"]
    assert reason == [
        "updates were lost: shard 0, epoch 1: updates 2 to 3 are missing; "
        "restart the shard, then it sends all its rows again"
    ]
    assert replica.score(1, 10) == pytest.approx(sigmoid(1))
    assert replica.get("/v1/status")["updates"]["gaps"] == 1
    assert "freshet_replica_gap_updates_total 1.0" in replica.get("/metrics")
    shards[0].publish({"item_id": {10: 1.0}}, epoch=2, sequence=1)
    replica.wait_ready()
