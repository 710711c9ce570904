"""The loop in one process: the real model over real tables, scores from parameters that lag behind learning.

No Kafka, no Flink, no shards. What is learnt reaches the served copy `delay` impressions later, as through
the topic `updates`; dense tensors follow the same way.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ruamel.yaml import YAML

from jobs.spec import Job
from jobs.traffic.visits import Visit
from model.features import table_settings
from model.network import Network
from model.parse import Examples
from model.requests import columns
from ps.dense import DenseTensors
from ps.shard import table_seed
from ps.table import EmbeddingTable

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """The job file, with `a.b=c` set, c in YAML."""
    yaml = YAML(typ="safe")
    job = yaml.load(path)
    for override in overrides:
        name, _, value = override.partition("=")
        *blocks, key = name.split(".")
        block = job
        for each in blocks:
            block = block.setdefault(each, {})
        block[key] = yaml.load(value)
    return Job.model_validate(job)


class Parameters:
    """Rows and dense tensors that predictions read."""

    def __init__(self, tables: dict[str, EmbeddingTable], dense: Mapping[str, np.ndarray]) -> None:
        self.tables, self.dense = tables, dense

    def rows(self, ids: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: self.tables[name].lookup(each) for name, each in ids.items()}

    def clone(self) -> "Parameters":
        return Parameters({name: table.clone() for name, table in self.tables.items()}, dict(self.dense))


class ClosedLoop:
    """Predicts from the served parameters, learns into the live ones."""

    def __init__(self, job: Job, delay: int) -> None:
        self._job, self._delay = job, delay
        schema = job.schema_
        settings = table_settings(schema, schema.tables, schema.default_table)
        self.network = Network(schema, job.model, settings, job.seed)

        def tables(optimizer: bool) -> dict[str, EmbeddingTable]:
            return {
                n: EmbeddingTable(s, table_seed(job.seed, n), optimizer=optimizer)
                for n, s in settings.items()
            }

        self._dense = DenseTensors(job.model.optimizer)
        self._dense.initialize(self.network.initial_dense())
        self.live = Parameters(tables(True), self._dense.values)
        self.served = Parameters(tables(False), self._dense.values)
        self._on_their_way: deque[tuple[int, dict[str, Any], Mapping[str, np.ndarray]]] = deque()
        self._learnt = self._steps = 0

    def plan(self, visits: Sequence[Visit]) -> Any:
        """The lookup of all items of `visits`, and their columns."""
        requests = [{"user": v.user, "context": v.context, "items": v.items} for v in visits]
        found = columns(self._job.schema_, requests)
        return self.network.lookup(found, sum(len(v.items) for v in visits))

    def predict(self, lookup: Any, parameters: Parameters | None = None) -> dict[str, np.ndarray]:
        """Scores by label from the served parameters, or from others."""
        chosen = parameters or self.served
        return self.network.predict(lookup, chosen.rows(lookup.ids), self.network.tensors(chosen.dense))

    def learn(self, lookup: Any, labels: np.ndarray, sampling_rates: np.ndarray) -> dict[str, np.ndarray]:
        """One step with labels `float32[n, labels]`; the predictions from before it."""
        n = len(labels)
        none = np.zeros(n, np.int64)
        examples = Examples(
            {},
            labels,
            masks=np.ones_like(labels),
            was=np.full_like(labels, np.nan),
            otherwise=np.float32(1) - labels,
            sampling_rates=sampling_rates,
            pool_probabilities=np.zeros(n, np.float32),
            scores={},
            ts_ms=none,
            joined_ts_ms=none,
            action_ts_ms=none,
            action_logged_ts_ms=none,
        )
        rows = self.live.rows(lookup.ids)
        learnt = self.network.learn(lookup, rows, self.live.dense, examples, self._steps)
        for name, (ids, gradients) in learnt.tables.items():
            self.live.tables[name].apply_gradients(ids, gradients, step=self._steps)
        self._dense.apply_gradients(learnt.dense, self._steps)
        self.live.dense = self._dense.values
        self._steps, self._learnt = self._steps + 1, self._learnt + n
        self._publish(lookup)
        return learnt.predictions

    def _publish(self, lookup: Any) -> None:
        rows = {name: (ids, self.live.tables[name].lookup(ids)) for name, ids in lookup.ids.items()}
        self._on_their_way.append((self._learnt, rows, self.live.dense))
        while self._on_their_way and self._on_their_way[0][0] <= self._learnt - self._delay:
            _, arrived, self.served.dense = self._on_their_way.popleft()
            for name, (ids, values) in arrived.items():
                self.served.tables[name].assign(ids, values)
