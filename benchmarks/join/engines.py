"""The joins as jobs: their settings, and the commands that submit them."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.join.cluster import BenchError, Submission
from benchmarks.join.stream import OUT_OF_ORDER_S, SCHEMA, WINDOW_S
from jobs.spec import Job
from jobs.stack.flink import Flink
from jobs.stack.layout import PROJECT, RunDirectory

SLOTS: Final = 2
CLUSTER: Final = {
    "taskmanager.numberOfTaskSlots": f"{SLOTS}",
    "taskmanager.memory.managed.size": "1g",
    "taskmanager.memory.process.size": "2560m",
    # Looking twice a second at hundreds of metrics would be part of what is measured.
    "metrics.reporter.prom.filter.includes": "*:currentOffset,currentInputWatermark",
}
POM: Final = PROJECT / "benchmarks" / "jvm" / "pom.xml"
JAR: Final = PROJECT / ".cache" / "maven" / "bare-join" / "bare-join-0.1.0.jar"


@dataclass(frozen=True)
class Engine:
    """A join: how it is submitted, and whether it reads a request as one event per item."""

    submission: Submission
    one_item: bool = False
    joiner: str = "jvm"
    """`joiner.engine`, of ours."""


def job_of(name: str, features: str, joiner: str = "jvm", checkpoint_s: float = 5) -> Job:
    """Ours as a job, of which the others take name and topics; those it writes carry its name."""
    own = {topic: f"{name}_{topic}" for topic in ("actions", "examples", "dead_letters", "updates")}
    return Job.model_validate(
        {
            "name": name.replace("_", "-"),
            "schema": {
                "features": {
                    feature: {"from": f"{origin}.{feature}", "type": kind}
                    for origin, kinds in SCHEMA.items()
                    for feature, kind in kinds.items()
                },
                "labels": {"click": {"action": "click", "window_s": WINDOW_S}},
            },
            "kafka": {"topics": {"features": features, **own}},
            "joiner": {
                "engine": joiner,
                # Two slots of one process share one Python.
                "parallelism": 1 if joiner == "python" else SLOTS,
                "out_of_order_s": OUT_OF_ORDER_S,
                "max_past_s": 365 * 86_400,
                "checkpoint_interval_ms": round(checkpoint_s * 1000),
                "flink_options": CLUSTER,
            },
        }
    )


def _ours(flink: Flink, job: Job, run: RunDirectory) -> list[str]:
    return flink.submission(is_embedded=True, resume=False)


def _interval_join(flink: Flink, job: Job, run: RunDirectory) -> list[str]:
    file = run.flink / f"{job.name}.json"
    file.write_text(json.dumps(_settings(job) | {"schema": SCHEMA}))
    script = str(Path(__file__).with_name("interval_join.py"))
    return [*_flink_run(flink, run), "-py", script, "--settings", str(file)]


def _java(flink: Flink, job: Job, run: RunDirectory) -> list[str]:
    words = [word for name, value in _settings(job).items() for word in (f"--{name}", str(value))]
    return [*_flink_run(flink, run), "-c", "freshet.bench.Main", str(JAR), *words]


def _settings(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "bootstrap": job.kafka.bootstrap,
        "features": job.kafka.topics.features,
        "actions": job.kafka.topics.actions,
        "output": job.kafka.topics.examples,
        "parallelism": SLOTS,
        "window_s": WINDOW_S,
        "out_of_order_s": OUT_OF_ORDER_S,
        "checkpoint_interval_ms": job.joiner.checkpoint_interval_ms,
    }


def _flink_run(flink: Flink, run: RunDirectory) -> list[str]:
    checkpoints = f"-Dexecution.checkpointing.dir=file://{run.flink}/checkpoints"
    return [f"{flink.env['FLINK_HOME']}/bin/flink", "run", "-d", "-m", flink.address, checkpoints]


def build_java() -> None:
    """Compiles the Java join; only what has changed."""
    done = subprocess.run(["mvn", "-q", "-B", "-ntp", "-f", POM, "package"], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the Java join does not build:\n{done.stdout}{done.stderr}")


PEERS: Final = {"interval_join": Engine(_interval_join, one_item=True), "java": Engine(_java)}


def contenders(engines: Sequence[str]) -> dict[str, Engine]:
    """By their names in the JSON: the first of our engines is `ours`."""
    named = ("ours" if engine == engines[0] else f"ours_{engine}" for engine in engines)
    return {name: Engine(_ours, joiner=engine) for name, engine in zip(named, engines, strict=True)} | PEERS
