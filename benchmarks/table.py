"""Speed and memory of the embedding table beside its peers.

    freshet bench table [--rows 10240000] [--rounds 7] [--with-tfra] [--json]

Rows of 16 floats with Adagrad state, batches of 8,192 ids. Builds `benchmarks/native` into .cache and runs
it: all contenders in one process, in turns, medians of the rounds.

JSON: `uniform_1`, `uniform_2`, `zipf_1`, `zipf_2` (distribution, threads) hold `lookup_hit`, `lookup_miss`,
`update`, `mixed` (nine lookups, then an update) and `insert` (updates of an empty table: every id once, or
as many Zipf draws), each in millions of ids a second by contender:

- `ours`, and `ours_python`, the same through NumPy;
- `ceiling`: known row numbers gathered from an array, the best of no prefetch and prefetch to either level;
- `ceiling_spread`: the same where rows begin in even and odd lines, as ours and those of the peers below;
- `libcuckoo`;
- `absl`, `absl_prefetch`, `boost_prefetch`: a flat map to row numbers without a lock, so that two threads
  only look up. `prefetch`: the slot (absl) and the row are asked for 32 ids ahead.

Each but `insert` begins with as many batches that are not timed. Before updates are, ours begins a new list
of touched rows, as after a sync: of 10 million uniform rows 98 % are listed by the timed updates, of Zipf
draws 39 %. null: not installed, or cannot do it.
Beside them `growth_p50_ms`, `growth_p99_ms` and `growth_max_ms` of the batches of ours while it grows, each
batch the median of its times in the rounds, and `growth_worst_ms`, the worst batch of any round, with the
stops of the machine itself. For the whole run: `load_factor`,
`bytes_per_row`, `payload_bytes_per_row` (row and key), `growth_max_bytes_per_row`, `memory_bytes_of_resident`
(`memory_bytes` over what the system counts), `tfra_step.ours` and `tfra_step.tfra`: lookup, gradient and
update, beside TensorFlow Recommenders Addons, whose environment `--with-tfra` makes in .cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from ps.arrays import Int64
from ps.settings import TableSettings
from ps.table import EmbeddingTable

ROOT: Final = Path(__file__).parents[1]
BUILD: Final = ROOT / ".cache" / "table_bench"
TFRA: Final = ROOT / ".cache" / "tfra"
TFRA_PACKAGES: Final = (
    "tensorflow==2.16.2",
    "tensorflow-recommenders-addons==0.8.1",
    "numpy==1.26.4",
    "tf-keras==2.16.0",
)
TFRA_ROWS: Final = 2_000_000
DIM, BATCH, BATCHES, WARM_UP_BATCHES = 16, 8192, 60, 60
CASES: Final = {"uniform_1": 1, "uniform_2": 2, "zipf_1": 1, "zipf_2": 2}
CALLS: Final = ("lookup_hit", "lookup_miss", "update", "mixed", "insert")
CEILINGS: Final = ("ceiling", "ceiling_spread")
GATHERS: Final = ("plain", "prefetch_1", "prefetch_2")
CONTENDERS: Final = (
    "ours", "ours_python", *CEILINGS, "libcuckoo", "absl", "absl_prefetch", "boost_prefetch"
)  # fmt: skip
Values = Iterator[tuple[str, float]]


def build() -> Path:
    """The benchmark program; only what has changed is compiled."""
    tools = Path(sys.executable).parent
    cmake = str(tools / "cmake")
    configure = [cmake, "-S", str(ROOT / "benchmarks" / "native"), "-B", str(BUILD), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", f"-DPython_EXECUTABLE={sys.executable}"]
    for command in (configure, [cmake, "--build", str(BUILD)]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the benchmark program does not build:\n{done.stdout}{done.stderr}")
    return BUILD / "table_bench"


def native(program: Path, rows: int, rounds: int) -> Values:
    """What the program prints, line by line."""
    with subprocess.Popen([program, str(rows), str(rounds)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            name, value = line.split()
            yield name, float(value)
    if process.returncode:
        sys.exit(f"{program} ended with status {process.returncode}")


def draw(case: str, rows: int, rng: np.random.Generator) -> list[Int64]:
    if case.startswith("uniform"):
        return [rng.integers(0, rows, BATCH) for _ in range(WARM_UP_BATCHES + BATCHES)]
    ranks = np.exp(rng.random((WARM_UP_BATCHES + BATCHES, BATCH)) * np.log(rows + 1.0)).astype(np.int64) - 1
    return list(np.minimum(ranks, rows - 1))


def rate(
    call: Callable[[Int64], object],
    batches: list[Int64],
    threads: int,
    ready: Callable[[], object],
) -> float:
    """Millions of ids a second; the first batches are not timed, then comes a call of `ready`. As
    native/measure.cc has it: each thread has its share of the batches, a processor and a clock of its own."""
    processors = sorted(os.sched_getaffinity(0))
    together = threading.Barrier(threads)

    def share(thread: int, of: list[Int64]) -> tuple[float, float]:
        os.sched_setaffinity(0, {processors[thread % len(processors)]})  # of this thread
        together.wait()
        start_s = time.perf_counter()
        for batch in of[thread::threads]:
            call(batch)
        return start_s, time.perf_counter()

    warm_up, timed = batches[:WARM_UP_BATCHES], batches[WARM_UP_BATCHES:]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads), [warm_up] * threads))
        ready()
        starts_s, ends_s = zip(*pool.map(share, range(threads), [timed] * threads), strict=True)
    took_s: float = max(ends_s) - min(starts_s)
    return len(timed) * BATCH / took_s / 1e6


def filled(rows: int) -> EmbeddingTable:
    table = EmbeddingTable(TableSettings(dim=DIM), seed=1)
    gradients = np.full((BATCH, DIM), 0.01, np.float32)
    for start in range(0, rows, BATCH):
        ids = np.arange(start, min(rows, start + BATCH))
        table.apply_gradients(ids, gradients[: len(ids)])
    table.touched()
    return table


def python(rows: int, rounds: int) -> Values:
    """Ours, called from Python."""
    table, rng = filled(rows), np.random.default_rng(1)
    gradients = np.full((BATCH, DIM), 0.01, np.float32)
    sync = table.touched
    calls: dict[str, Callable[[Int64], object]] = {
        "lookup_hit": table.lookup,
        "lookup_miss": lambda ids: table.lookup(ids),
        "update": lambda ids: table.apply_gradients(ids, gradients),
    }
    for case, threads in CASES.items():
        for what, call in calls.items():
            offset = rows if what == "lookup_miss" else 0
            rates = []
            for _ in range(rounds):
                batches = [ids + offset for ids in draw(case, rows, rng)]
                rates.append(rate(call, batches, threads, sync if what == "update" else lambda: None))
            yield f"{case}.{what}.ours_python", statistics.median(rates)


def make_tfra() -> Path:
    """The Python of TFRA's environment, made once."""
    interpreter, done = TFRA / "venv" / "bin" / "python", TFRA / "done"
    if not done.exists():
        venv.create(TFRA / "venv", with_pip=True, clear=True)
        subprocess.run([interpreter, "-m", "pip", "install", "-q", *TFRA_PACKAGES], check=True)
        done.write_text("\n".join(TFRA_PACKAGES))
    return interpreter


def tfra_step(rows: int, rounds: int) -> Values:
    """Training steps of TFRA and of ours in turns; TFRA has all cores, ours has one thread."""
    batches = 20
    script = ROOT / "benchmarks" / "tfra" / "step.py"
    command = [str(make_tfra()), str(script), *map(str, (rows, DIM, BATCH, batches))]
    table, rng = filled(rows), np.random.default_rng(1)

    def step(ids: Int64) -> None:
        embeddings = table.lookup(ids)  # the loss is half the sum of squares: they are their own gradients
        table.apply_gradients(ids, embeddings)

    rates: dict[str, list[float]] = {"ours": [], "tfra": []}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if "ready\n" not in process.stdout:  # TensorFlow has its say first
            sys.exit("the training step of TFRA does not start")
        for _ in range(rounds):
            process.stdin.write("round\n")
            process.stdin.flush()
            rates["tfra"].append(float(process.stdout.readline()))
            rates["ours"].append(rate(step, draw("uniform_1", rows, rng), 1, table.touched))
        process.stdin.close()
    for name, values in rates.items():
        yield f"tfra_step.{name}", statistics.median(values)


def measure(rows: int, rounds: int, with_tfra: bool) -> Values:
    yield from native(build(), rows, rounds)
    yield from python(rows, rounds)
    if with_tfra:
        yield from tfra_step(min(rows, TFRA_ROWS), rounds)


def nested(values: dict[str, float]) -> dict[str, Any]:
    """By the dots of the names; every contender is in every call, null where it has no value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        at = found
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    for case in CASES:
        for call in CALLS:
            rates = found[case][call]
            for ceiling in CEILINGS:
                gathers = (rates.pop(f"{ceiling}_{gather}", None) for gather in GATHERS)
                rates[ceiling] = max(filter(None, gathers), default=None)
            found[case][call] = {contender: rates.get(contender) for contender in CONTENDERS}
    found.setdefault("tfra_step", {"ours": None, "tfra": None})
    return found


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title="Embedding table, millions of ids a second", title_justify="left")
    table.add_column("")
    for contender in CONTENDERS:
        table.add_column(contender.replace("_", " "), justify="right")
    for case in CASES:
        distribution, threads = case.split("_")
        for call in CALLS:
            cells = [f"{v:.1f}" if v is not None else "–" for v in found[case][call].values()]
            table.add_row(f"{call.replace('_', ' ')}, {distribution}, {threads} threads", *cells)
        table.add_section()
    console.print(table)
    for case in CASES:
        times = (f"{q} {found[case][f'growth_{q}_ms']:.2f} ms" for q in ("p50", "p99", "max", "worst"))
        console.print(f"batch while it grows, {case}: {', '.join(times)}")
    console.print(
        f"{found['bytes_per_row']:.1f} bytes a row at load {found['load_factor']:.2f}, "
        f"{found['growth_max_bytes_per_row']:.1f} at most while growing, payload "
        f"{found['payload_bytes_per_row']:.0f}; "
        f"memory_bytes is {found['memory_bytes_of_resident']:.1%} of resident memory"
    )
    if found["tfra_step"]["tfra"] is not None:
        ours, tfra = found["tfra_step"]["ours"], found["tfra_step"]["tfra"]
        console.print(f"training step: ours {ours:.1f}, TFRA {tfra:.1f} ({ours / tfra:.1f} times)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_240_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--with-tfra", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    values: dict[str, float] = {}
    progress = Console(stderr=True)
    with progress.status("building") as status:
        for name, value in measure(options.rows, options.rounds, options.with_tfra):
            values[name] = round(value, 3)
            status.update(f"{name} {value:.1f}")
    found = {"rows": options.rows, "dim": DIM, "batch": BATCH} | nested(values)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, Console())


if __name__ == "__main__":
    main()
