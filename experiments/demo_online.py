"""How soon the demo's model learns, without the stack: simulated traffic, labels as the joiner gives them.

A click is learnt `LATENCY_S` after it happened; a negative, if it is sampled, that long after its window has
closed; what is learnt is served another second later. Run: PYTHONPATH=. python experiments/demo_online.py
"""

import argparse
import heapq
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.closed_loop import ClosedLoop, load_job
from jobs.spec import Job
from jobs.traffic.simulated import SimulatedVisits
from jobs.traffic.visits import Visit
from model.quality import auc

ROOT = Path(__file__).parents[1]
START_MS = 1_764_000_000_000
LATENCY_S = 2.0
"""From an action to its example: the joiner's commit."""
STEP_MS = 1000

Outcome = tuple[int, int, Visit, float]


def outcomes(job: Job, visit: Visit, rng: np.random.Generator) -> Iterator[tuple[int, Visit, float]]:
    """(time of learning in ms, visit of one item, label) of every item whose example is kept."""
    (label,) = job.schema_.labels.values()
    clicks = {r.item_id: r.ts for r in visit.reactions if r.action == label.action}
    for item in visit.items:
        one = Visit(visit.request_id, visit.ts, visit.user, visit.context, [item])
        clicked_ms = clicks.get(item["item_id"])
        if clicked_ms is not None and clicked_ms - visit.ts <= label.window_s * 1000:
            yield int(clicked_ms + 1000 * LATENCY_S), one, 1.0
        elif rng.random() < job.joiner.negatives.rate:
            yield int(visit.ts + 1000 * (label.window_s + LATENCY_S)), one, 0.0


def run(job: Job, seconds: int, every_s: int) -> Iterator[dict[str, float]]:
    """AUC of the served scores, of a frozen model's, and the best possible, by stretch of time."""
    loop = ClosedLoop(job, int(job.traffic.requests_per_s * job.traffic.candidates))
    rng, waiting, count, frozen = np.random.default_rng(1), [], 0, None
    visits, names = iter(SimulatedVisits(job, START_MS)), ("served", "frozen", "best")
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("label", *names)}
    (label,) = job.schema_.labels
    for second in range(seconds):
        end_ms, block = START_MS + (second + 1) * STEP_MS, []
        while not block or block[-1].ts < end_ms:
            block.append(next(visits))
        if frozen is None and second >= job.traffic.freeze_after_s:
            frozen = loop.served.clone()
        lookup = loop.plan(block)
        clicked = [{r.item_id for r in v.reactions if r.action == "click"} for v in block]
        pairs = zip(block, clicked, strict=True)
        found["label"].append(np.array([item["item_id"] in hit for v, hit in pairs for item in v.items]))
        found["served"].append(loop.predict(lookup)[label])
        found["frozen"].append(loop.predict(lookup, frozen)[label])
        found["best"].append(np.array([item["scores"][f"{label}@best"] for v in block for item in v.items]))
        for visit in block:
            for at_ms, one, y in outcomes(job, visit, rng):
                heapq.heappush(waiting, (at_ms, count := count + 1, one, y))
        ready = []
        while waiting and waiting[0][0] < end_ms:
            ready.append(heapq.heappop(waiting))
        for start in range(0, len(ready), job.trainer.batch_size):
            learn(job, loop, ready[start : start + job.trainer.batch_size])
        if (second + 1) % every_s == 0:
            truth = np.concatenate(found["label"]).astype(float)
            ones = np.ones(len(truth))
            areas = {name: auc(truth, np.concatenate(found[name]).astype(float), ones) for name in names}
            yield {"second": second + 1, **{name: round(area or 0, 3) for name, area in areas.items()}}
            found = {name: [] for name in found}


def learn(job: Job, loop: ClosedLoop, ready: list[Outcome]) -> None:
    """One step."""
    labels = np.array([[y] for *_, y in ready], np.float32)
    rates = np.full(len(ready), job.joiner.negatives.rate, np.float32)
    loop.learn(loop.plan([one for _, _, one, _ in ready]), labels, rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", type=Path, default=ROOT / "jobs" / "demo.yaml")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--every", type=int, default=30)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    for row in run(load_job(arguments.job, arguments.set), arguments.seconds, arguments.every):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
