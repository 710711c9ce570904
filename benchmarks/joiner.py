"""The joiner beside Flink SQL's interval join and a bare join in Java.

    freshet bench joiner [--engine jvm python] [--seconds 60] [--waiting 100000 1000000 5000000] [--json]

Starts a broker and a Flink cluster as `freshet run` does, and runs on the same events, one after another:

- `ours`, by the engine that `--engine` names first; `ours_ENGINE` for each further one;
- `interval_join`: Flink SQL, `features LEFT JOIN actions` within the window, JSON in and out
  (`benchmarks/join/interval_join.py`). A row of SQL is an impression: where a request has several items, it
  reads the same requests as one event per item;
- `java`: a hand-written `KeyedCoProcessFunction`, JSON in and out, nothing but the join (`benchmarks/jvm`).

The same for all: requests with 15 features an item, actions on a tenth of the impressions, a window of ten
minutes of event time, two partitions, one TaskManager with two slots and 1 GiB of managed memory, RocksDB as
`flink-conf` sets it, a checkpoint every 5 s, exactly-once sinks. Parallelism 2, but 1 for engine
`python`: two slots would share one Python. Requests are in Kafka beforehand, actions follow them as they are
read. Each join has a TaskManager of its own and warms up before it is measured.

JSON: `items_1` and `items_8` hold `bytes_per_impression` (of the requests' JSON) and by join:

- `events_per_s` (requests and actions, as read), `impressions_per_s`;
- `cpu_s_per_million_events`: user and system time of the TaskManager; `others_cpu_cores`: what processes
  that do not belong to the benchmark took meanwhile, which makes everything slower;
- `state_bytes_per_waiting_impression`: of a savepoint in Flink's canonical format, each entry once and not
  compressed; `checkpoint_bytes_per_waiting_impression`: of the files that a checkpoint refers to, compressed,
  with what is deleted and not yet compacted; `waiting`: impressions waiting then;
- `seconds`: how long it was measured.

`waiting` holds, by impressions waiting (`empty`: a thousand), `events_per_s` of ours with 8 items a request,
one after another in one run.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.join.cluster import BenchError, Cluster
from benchmarks.join.engines import build_java, contenders, job_of
from benchmarks.join.measure import Bench, Rates, Sizes, median
from jobs.errors import JobError
from pipelines.settings import JoinerSettings

WAITING_ITEMS: Final = 8
Values = Iterator[tuple[tuple[str, str], Any]]


def measure(bench: Bench, options: argparse.Namespace) -> Values:
    """Everything, by its place in the JSON."""
    engines = contenders(options.engine)
    for items in options.items:
        with bench.case(items) as (whole, split):
            yield (f"items_{items}", "bytes_per_impression"), whole.bytes_per_impression
            measured: dict[str, list[Rates]] = {name: [] for name in engines}
            for number in range(options.rounds):
                for name, engine in engines.items():
                    given = split if engine.one_item else whole
                    measured[name].append(bench.rates(f"{name}_{items}_{number}", engine, given))
                    yield (f"items_{items}", name), median(measured[name])
    if options.waiting:
        for level, rates in bench.waiting(engines["ours"], WAITING_ITEMS, options.waiting):
            yield ("waiting", level), rates


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return round(value, 2) if isinstance(value, float) else value


def show(found: Mapping[str, Any], console: Console) -> None:
    for block, case in found.items():
        if block == "waiting":
            continue
        event_bytes = case.pop("bytes_per_impression")
        title = f"{block.replace('_', ' ')} a request, {event_bytes:.0f} bytes an impression"
        table = Table(title=title, title_justify="left")
        for column in (
            "",
            "events/s",
            "impressions/s",
            "of interval join",
            "CPU s / M events",
            "state bytes",
            "of event",
        ):
            table.add_column(column, justify="right" if column else "left")
        for name, rates in case.items():
            state_bytes = rates["state_bytes_per_waiting_impression"]
            table.add_row(
                name.replace("_", " "),
                f"{rates['events_per_s']:,.0f}",
                f"{rates['impressions_per_s']:,.0f}",
                f"{rates['impressions_per_s'] / case['interval_join']['impressions_per_s']:.2f}",
                f"{rates['cpu_s_per_million_events']:.1f}",
                f"{state_bytes:.0f}",
                f"{state_bytes / event_bytes:.2f}",
            )
        console.print(table)
    for level, rates in found["waiting"].items():
        console.print(f"{level:>10} waiting: {rates['events_per_s']:10,.0f} events/s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = JoinerSettings().engine
    parser.add_argument(
        "--engine", nargs="+", choices=("jvm", "python"), default=[default], help=f"{default}"
    )
    parser.add_argument("--items", type=int, nargs="+", default=[1, 8], help="of a request")
    parser.add_argument("--warm-up", type=float, default=25, help="seconds before a join is measured")
    parser.add_argument("--seconds", type=float, default=60, help="of one measurement")
    parser.add_argument(
        "--events", type=int, default=4_000_000, help="in a topic; fewer end a measurement early"
    )
    parser.add_argument("--checkpoint-s", type=float, default=5, help="seconds between checkpoints")
    parser.add_argument("--rounds", type=int, default=1, help="medians of so many measurements")
    parser.add_argument(
        "--waiting",
        type=int,
        nargs="*",
        default=[100_000, 1_000_000, 5_000_000],
        help="impressions; none: left out",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    sizes = Sizes(
        options.warm_up,
        options.seconds,
        options.events,
        waiting=min(100_000, options.events // 10),
        checkpoint_s=options.checkpoint_s,
    )
    found: dict[str, dict[str, Any]] = {f"items_{items}": {} for items in options.items}
    found["waiting"] = {}
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory() as directory, progress.status("measuring"):
        cluster = Cluster(job_of("bench", "features"), Path(directory) / "run")
        try:
            build_java()
            cluster.start()
            bench = Bench(cluster, sizes)
            for (block, name), value in measure(bench, options):
                found[block][name] = rounded(value)
                progress.print(f"{block} {name}: {json.dumps(found[block][name])}", highlight=False)
        except (BenchError, JobError) as error:
            sys.exit(str(error))
        finally:
            cluster.stop()
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, Console())


if __name__ == "__main__":
    main()
