"""Speed of the embedding table through Python, beside what NumPy's gather of known rows reaches.

    .venv/bin/python -m benchmarks.table [--rows 10000000] [--json]

Rows of 16 floats with Adagrad state; batches of 8,192 ids. Millions of ids a second, the best of five rounds.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ps.settings import TableSettings
from ps.table import EmbeddingTable

DIM, BATCH, ROUNDS = 16, 8192, 5
GRADS = np.full((BATCH, DIM), 0.01, np.float32)
Call = Callable[[np.ndarray], object]


def uniform(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    return rng.integers(0, rows, n)


def zipf(rng: np.random.Generator, rows: int, n: int) -> np.ndarray:
    """Zipf with exponent 1: the logarithm of the rank is uniform."""
    return np.minimum(np.exp(rng.random(n) * np.log(rows)).astype(np.int64), rows) - 1


def run_batches(call: Call, batches: list[np.ndarray]) -> None:
    for batch in batches:
        call(batch)


def rate(call: Call, batches: list[np.ndarray], threads: int) -> float:
    """Millions of ids a second; each thread has its share of the batches."""
    shares = [batches[t::threads] for t in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            before = time.perf_counter()
            list(pool.map(lambda share: run_batches(call, share), shares))
            best = max(best, len(batches) * BATCH / (time.perf_counter() - before) / 1e6)
    return best


def insert_all(table: EmbeddingTable, ids: np.ndarray) -> dict[str, float]:
    """Fill an empty table by gradients; rate, and milliseconds of a batch while it grows."""
    took = []
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        before = time.perf_counter()
        table.apply_gradients(part, GRADS[: len(part)])
        took.append(time.perf_counter() - before)
    p50, p99, most = (1e3 * np.quantile(took, q) for q in (0.5, 0.99, 1))
    return {
        "insert": len(ids) / sum(took) / 1e6,
        "growth_p50_ms": p50,
        "growth_p99_ms": p99,
        "growth_max_ms": most,
    }


def measure(rows: int, count: int) -> Iterator[tuple[str, float]]:
    rng = np.random.default_rng(1)
    # Ids like hashes: any int64, so that nothing gains by their order.
    ids = rng.permutation(rows).astype(np.int64) * 0x9E3779B97F4A7C1 + 12345
    table = EmbeddingTable(TableSettings(dim=DIM), seed=1)
    yield from insert_all(table, ids).items()
    table.touched()  # its list is not part of a row
    yield "load_factor", len(table) / table.capacity
    yield "bytes_per_row", table.memory_bytes / len(table)

    gathered = np.ones((rows, DIM), np.float32)

    def gather(known_rows: np.ndarray) -> object:
        return np.take(gathered, known_rows, axis=0, out=np.empty((BATCH, DIM), np.float32), mode="clip")

    for name, choose in {"uniform": uniform, "zipf": zipf}.items():
        picks = [choose(rng, rows, BATCH) for _ in range(count)]
        hits = [ids[p] for p in picks]
        misses = [h + 1 for h in hits]
        calls: dict[str, tuple[Call, list[np.ndarray]]] = {
            "ceiling": (gather, picks),
            "lookup_hit": (table.lookup, hits),
            "lookup_miss": (table.lookup, misses),
            "update": (lambda batch: table.apply_gradients(batch, GRADS), hits),
        }
        for what, (call, batches) in calls.items():
            for threads in (1, 2):
                yield f"{what}.{name}.{threads}", rate(call, batches, threads)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=200, help="batches in a round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, value in measure(options.rows, options.batches):
        results[name] = round(float(value), 3)
        if not options.json:
            print(f"{name:24} {value:10.2f}", flush=True)
    if options.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
