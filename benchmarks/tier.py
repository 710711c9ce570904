"""Speed of a table with a tier on disk, ten times as large as its memory, beside one that is all in memory.

    .venv/bin/python -m benchmarks.tier [--memory-mib 64] [--batches 40] [--json]

Rows of 16 floats with Adagrad state; batches of 8,192 ids; thousands of ids a second. A step is what a
trainer does: a lookup, then an update of the same ids. `hot`: ids in memory; `cold`: uniform over all rows,
nine in ten on disk; `zipf`: rank r as often as 1 / r.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil

from ps.arrays import Int64
from ps.settings import TableSettings
from ps.table import EmbeddingTable
from ps.tier import TieredTable

DIM, BATCH, TIMES_MEMORY = 16, 8192, 10
GRADS = np.full((BATCH, DIM), 0.01, np.float32)
Call = Callable[[Int64], object]


def rate(call: Call, batches: list[Int64]) -> float:
    """Thousands of ids a second."""
    before = time.perf_counter()
    for batch in batches:
        call(batch)
    return len(batches) * BATCH / (time.perf_counter() - before) / 1e3


def step_of(table: EmbeddingTable | TieredTable) -> Call:
    def step(batch: Int64) -> None:
        table.lookup(batch)
        table.apply_gradients(batch, GRADS, time.time_ns() // 1_000_000)

    return step


def zipf_choice(rng: np.random.Generator, ids: Int64) -> Int64:
    ranks = np.exp(rng.random(BATCH) * np.log(len(ids))).astype(np.int64)
    chosen: Int64 = ids[np.minimum(ranks, len(ids)) - 1]
    return chosen


def fill(table: EmbeddingTable | TieredTable, ids: Int64) -> float:
    step = step_of(table)
    return rate(step, [ids[start : start + BATCH] for start in range(0, len(ids) - BATCH + 1, BATCH)])


def measure(memory_bytes: int, count: int, path: Path) -> Iterator[tuple[str, float]]:
    rng, process = np.random.default_rng(1), psutil.Process()
    tiered = TieredTable(TableSettings(dim=DIM), 1, path, memory_bytes)
    hot_rows = tiered.hot_rows
    ids = rng.permutation(TIMES_MEMORY * hot_rows).astype(np.int64) * 0x9E3779B97F4A7C1 + 12345
    yield "rows", len(ids)
    yield "insert", fill(tiered, ids)
    tiered.touched()  # its list is not part of a row
    step = step_of(tiered)
    hot = [rng.choice(ids[:BATCH], BATCH) for _ in range(count)]
    cold = [rng.choice(ids, BATCH) for _ in range(count)]
    zipf = [zipf_choice(rng, ids) for _ in range(4 * count)]
    step(ids[:BATCH])
    yield "lookup.hot", rate(tiered.lookup, hot)
    yield "step.hot", rate(step, hot)
    yield "lookup.cold", rate(tiered.lookup, cold)
    yield "lookup.absent", rate(tiered.lookup, [batch + 1 for batch in cold])
    yield "step.cold", rate(step, cold)
    rate(step, zipf[: 3 * count])
    before_rows = tiered.rows.promoted
    yield "step.zipf", rate(step, zipf[3 * count :])
    yield "promoted_share.zipf", (tiered.rows.promoted - before_rows) / (count * BATCH)
    yield "memory_mib", tiered.memory_bytes / 2**20
    yield "disk_mib", tiered.rows.cold.bytes_on_disk / 2**20
    yield "rss_mib", process.memory_info().rss / 2**20
    tiered.close()
    whole = EmbeddingTable(TableSettings(dim=DIM), seed=1)
    yield "insert.whole", fill(whole, ids)
    yield "lookup.whole", rate(whole.lookup, cold)
    yield "step.whole", rate(step_of(whole), cold)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory-mib", type=int, default=64)
    parser.add_argument("--batches", type=int, default=40, help="batches of a measurement")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, value in measure(options.memory_mib << 20, options.batches, Path(directory) / "rows"):
            results[name] = round(float(value), 2)
            if not options.json:
                print(f"{name:24} {value:12,.2f}", flush=True)
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
