"""What the KuaiRand job's model is worth, without the stack: one pass, served scores that lag behind.

Run: PYTHONPATH=. python experiments/kuairand_online.py --path DIR [--until 0.5 --from 0.25] [--set a.b=c]

Settings were chosen on the first half alone (`--until 0.5 --from 0.25`).
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.closed_loop import ClosedLoop, load_job
from jobs.spec import Job
from jobs.traffic.paths import find_files
from jobs.traffic.replay import KuaiRandVisits
from jobs.traffic.visits import Visit
from model.quality import Sightings, measure

ROOT = Path(__file__).parents[1]


def labels_of(visits: Sequence[Visit], label: str) -> np.ndarray:
    """1 for items with a reaction `label`: `float32[n, 1]`."""
    hits = [{r.item_id for r in visit.reactions if r.action == label} for visit in visits]
    found = [item["item_id"] in hit for visit, hit in zip(visits, hits, strict=True) for item in visit.items]
    return np.array(found, np.float32)[:, np.newaxis]


def run(job: Job, visits: Sequence[Visit], delay: int, score_from: float) -> dict[str, float]:
    """AUC of the served scores, of scores without delay, and of the model frozen where scoring begins."""
    (label,) = job.schema_.labels
    action = job.schema_.labels[label].action
    loop, frozen, columns = ClosedLoop(job, delay), None, []
    total = sum(len(visit.items) for visit in visits)
    seen, start = 0, time.perf_counter()
    for block in _blocks(visits, job.trainer.batch_size):
        lookup = loop.plan(block)
        labels = labels_of(block, action)
        if frozen is None and seen >= score_from * total:
            frozen = loop.served.clone()
        served = loop.predict(lookup)[label]
        kept = loop.predict(lookup, frozen)[label] if frozen else np.full(len(labels), np.nan, np.float32)
        fresh = loop.learn(lookup, labels, np.ones(len(labels), np.float32))[label]
        columns.append(np.stack([labels[:, 0], served, fresh, kept]))
        seen += len(labels)
    truth, served, fresh, kept = np.concatenate(columns, axis=1)[:, int(score_from * total) :].astype(float)
    ones = np.ones(len(truth))
    of = {"served": served, "fresh": fresh, "frozen": kept}
    qualities = {name: measure(Sightings(truth, scores, ones)) for name, scores in of.items()}
    return {
        **{name: round(quality.auc or 0, 4) for name, quality in qualities.items()},
        "log_loss": round(qualities["served"].log_loss or 0, 4),
        "calibration": round(qualities["served"].calibration or 0, 3),
        "impressions_per_s": round(seen / (time.perf_counter() - start)),
    }


def _blocks(visits: Sequence[Visit], size: int) -> list[Sequence[Visit]]:
    return [visits[i : i + size] for i in range(0, len(visits), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", required=True)
    parser.add_argument("--job", type=Path, default=ROOT / "jobs" / "kuairand.yaml")
    parser.add_argument("--delay", type=int, default=2000, help="impressions")
    parser.add_argument("--until", type=float, default=1.0, help="share of the log that is used")
    parser.add_argument("--from", type=float, default=0.5, dest="score_from", help="share before scoring")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    job = load_job(arguments.job, arguments.set)
    visits = list(KuaiRandVisits(job, find_files(arguments.path)))
    visits = visits[: round(arguments.until * len(visits))]
    print(json.dumps(run(job, visits, arguments.delay, arguments.score_from / arguments.until)))


if __name__ == "__main__":
    main()
