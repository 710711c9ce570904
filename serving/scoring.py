"""From requests to answers: rows, dense tensors, the model, and the age of what was used."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from ps.arrays import Float32, Int64
from serving.dense import DenseVersion
from serving.freshness import Freshness
from serving.metrics import ReplicaMetrics
from serving.parameters import Parameters
from serving.requests import Request
from serving.tables import Tables

FROZEN: Final = "frozen"


class RequestScorer(Protocol):
    """The part of `model.score.Scorer` that is used here."""

    def ids(self, requests: Sequence[Request]) -> Mapping[str, Int64]:
        """The distinct ids whose rows `score` needs, by table: `int64[n]`."""

    def score(
        self, requests: Sequence[Request], rows: Mapping[str, Float32], dense: Mapping[str, Float32]
    ) -> Mapping[str, Float32]:
        """Scores by label: `float32[m]` over the items of all `requests`, in order; `rows` of `ids`."""


class Scoring:
    """Answers batches of requests. Used by one thread at a time."""

    def __init__(
        self,
        scorer: RequestScorer,
        parameters: Parameters,
        shards: int,
        freshness: Freshness,
        metrics: ReplicaMetrics,
    ) -> None:
        self._scorer = scorer
        self._parameters = parameters
        self._shards = shards
        self._freshness = freshness
        self._metrics = metrics

    def answer(self, requests: Sequence[Request]) -> list[bytes]:
        """The body of the answer to each of `requests`: all are scored in one go."""
        # Taken before the rows are read: what arrives in between counts for the next batch.
        taken = self._freshness.take()
        self._metrics.batch_requests.observe(len(requests))
        try:
            answers = self._answer(requests)
        except BaseException:
            self._freshness.put_back(taken)
            raise
        if len(taken):
            self._metrics.observe_freshness(self._freshness.served(taken))
        return answers

    def _answer(self, requests: Sequence[Request]) -> list[bytes]:
        used = self._used()
        scores = self._score(requests) if any(request["items"] for request in requests) else {}
        labels = list(scores)
        columns = [values.tolist() for values in scores.values()]
        of_items = iter([dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)])
        return [
            orjson.dumps(
                {
                    "request_id": request.get("request_id"),
                    "items": [
                        {"item_id": item["item_id"], "scores": next(of_items)} for item in request["items"]
                    ],
                    "parameters": used,
                }
            )
            for request in requests
        ]

    def _score(self, requests: Sequence[Request]) -> dict[str, Float32]:
        ids = self._scorer.ids(requests)
        live, frozen = self._parameters, self._parameters.frozen
        scores = dict(self._score_with(requests, ids, live.tables, live.dense.current))
        if frozen is not None:
            kept = self._score_with(requests, ids, frozen.tables, frozen.dense)
            scores |= {f"{label}@{FROZEN}": values for label, values in kept.items()}
        return scores

    def _score_with(
        self, requests: Sequence[Request], ids: Mapping[str, Int64], tables: Tables, dense: DenseVersion
    ) -> Mapping[str, Float32]:
        return self._scorer.score(requests, tables.lookup(ids), dense.tensors)

    def _used(self) -> dict[str, Any]:
        """How old the parameters are: of the shard that was heard longest ago; None before all were heard."""
        progress, version = self._parameters.progress, self._parameters.dense.current.version
        age_ms = None
        if version is not None and all(shard in progress for shard in range(self._shards)):
            oldest = min(progress[shard].published_ms for shard in range(self._shards))
            age_ms = max(0, time.time_ns() // 1_000_000 - oldest)
        return {"age_ms": age_ms, "dense_version": version}
