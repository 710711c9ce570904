"""How well can the simulated world be learnt? One factorisation machine learns on, another stops at 30 s.

No Kafka, no Flink: visits are learnt after a delay, in order, with Adagrad.
Run: PYTHONPATH=. python experiments/simulated_world.py

AUC of every 30 s, with the effects of `jobs/traffic/simulated.py` (120,520 impressions, 35 % clicked):

    best   0.840 0.847 0.843 0.846 0.854 0.860 0.859 0.862 0.855 0.845
    online 0.678 0.746 0.769 0.776 0.783 0.797 0.790 0.790 0.787 0.764
    frozen 0.678 0.727 0.700 0.669 0.628 0.584 0.554 0.518 0.499 0.492
"""

import argparse
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from jobs.spec import Job
from jobs.traffic.simulated import SimulatedVisits
from model.quality import auc

START_MS = 1_764_000_000_000
DIM = 8
LEARNING_RATE = 0.2
DELAY_S = 5.0
"""From the request to what was learnt of it; the window of a negative is longer, a positive comes sooner."""
BUCKET_S = 30.0

Key = tuple[str, object]


class Machine:
    """A factorisation machine over the job's raw features, with Adagrad."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._rows: dict[Key, np.ndarray] = {}
        self._state: dict[Key, np.ndarray] = {}

    def _row(self, key: Key) -> np.ndarray:
        if key not in self._rows:
            self._rows[key] = np.concatenate([[0.0], self._rng.normal(0, 0.05, DIM)])
            self._state[key] = np.full(DIM + 1, 0.1)
        return self._rows[key]

    def predict(self, keys: list[Key]) -> float:
        rows = np.stack([self._row(key) for key in keys])
        total = rows[:, 1:].sum(0)
        z = rows[:, 0].sum() + (total @ total - (rows[:, 1:] ** 2).sum()) / 2
        return 1 / (1 + math.exp(-z))

    def learn(self, keys: list[Key], label: float) -> None:
        error = self.predict(keys) - label
        total = sum(self._row(key)[1:] for key in keys)
        for key in keys:
            row = self._row(key)
            gradient = error * np.concatenate([[1.0], total - row[1:]])
            self._state[key] += gradient**2
            row -= LEARNING_RATE * gradient / np.sqrt(self._state[key])


def impressions(job: Job, seconds: float) -> Iterator[tuple[float, list[Key], float, float]]:
    """(time in s, keys, label, true probability) of every impression."""
    for visit in SimulatedVisits(job, START_MS):
        time_s = (visit.ts - START_MS) / 1000
        if time_s > seconds:
            return
        clicked = {reaction.item_id for reaction in visit.reactions if reaction.action == "click"}
        for item in visit.items:
            keys: list[Key] = [
                ("user", visit.user["user_id"]),
                ("country", visit.user["country"]),
                ("item", item["item_id"]),
                ("category", item["category"]),
            ]
            yield time_s, keys, float(item["item_id"] in clicked), item["scores"]["click@best"]


def predictions(rows: list[tuple[float, list[Key], float, float]], until_s: float) -> Iterator[float]:
    """Of a machine that learns what is `DELAY_S` old, until `until_s`."""
    machine, learnt = Machine(1), 0
    for time_s, keys, _, _ in rows:
        while rows[learnt][0] < min(time_s - DELAY_S, until_s):
            machine.learn(rows[learnt][1], rows[learnt][2])
            learnt += 1
        yield machine.predict(keys)


def by_bucket(rows: list[tuple[float, list[Key], float, float]], scores: Iterable[float]) -> list[str]:
    """The AUC of every `BUCKET_S`."""
    times, labels = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
    values, bucket = np.fromiter(scores, float), times // BUCKET_S
    parts = [bucket == number for number in range(int(bucket.max()) + 1)]
    areas = [auc(labels[part], values[part], np.ones(part.sum())) for part in parts]
    return ["  –  " if area is None else f"{area:.3f}" for area in areas]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    seconds = parser.parse_args().seconds
    job = Job.model_validate(YAML(typ="safe").load(Path("jobs/demo.yaml")))
    rows = list(impressions(job, seconds))
    clicked = np.mean([row[2] for row in rows])
    print(f"{len(rows)} impressions, {clicked:.3f} clicked; AUC of every {BUCKET_S:.0f} s")
    print("best  ", *by_bucket(rows, [row[3] for row in rows]))
    print("online", *by_bucket(rows, predictions(rows, math.inf)))
    print("frozen", *by_bucket(rows, predictions(rows, 30)))


if __name__ == "__main__":
    main()
