"""A model begins with the archive, since the topic has lost its beginning, and goes on with the topic."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines.schema import ExampleSchema
from ps.client import Shards
from tests.model.processes import SHARDS
from tests.pipelines.archiving import Cluster, Writer, count, in_topic, running_cluster
from tests.pipelines.conftest import JOB
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
TRAINER = """
import sys
import orjson
from model.examples import ExampleSource
from model.features import table_settings
from model.settings import ModelSettings, TrainerSettings
from model.train import run_trainer
from pipelines.schema import ExampleSchema
from ps.settings import TableSettings

schema = ExampleSchema.model_validate_json(sys.argv[1])
poll, log = ExampleSource.poll, open(sys.argv[5], "ab", buffering=0)

def told(self, *arguments):
    "What is to be learnt is written down before it is."
    batch = poll(self, *arguments)
    if batch is not None:
        of = lambda p: [(m.offset, [e.hex() for e in m.examples]) for m in batch.messages if m.partition == p]
        log.write(b"".join(orjson.dumps([[*span], of(span.partition)]) + b"\\n" for span in batch.spans))
    return batch

ExampleSource.poll = told
run_trainer(
    worker=0, schema=schema, tables=table_settings(schema, {}, TableSettings(dim=4)),
    model=ModelSettings(hidden=(8,)), trainer=TrainerSettings(batch_size=8, archive=sys.argv[4]), seed=1,
    shard_addresses=[sys.argv[2]], bootstrap=sys.argv[3], kafka_client={}, examples_topic="examples",
    metrics_address=None,
)
"""


class Learner:
    """A shard, and trainers one after the other."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.log, self._errors = folder / "learnt", folder / "errors"
        schema = ExampleSchema.model_validate(JOB["schema"]).model_dump_json(by_alias=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = self._start(SHARDS, schema, "127.0.0.1:0", (folder / "snapshots").as_uri())["address"]
        archive = str(cluster.run.path / "archive")
        self._arguments = (schema, self.address, cluster.job.kafka.bootstrap, archive, str(self.log))

    def start_trainer(self) -> None:
        self._start(TRAINER, *self._arguments)

    def kill(self) -> None:
        """SIGKILL what was started last."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def _start(self, script: str, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-c", script, *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
        with self._errors.open("ab") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=env)
        self._processes.append(process)
        line = process.stdout.readline()
        assert line, self.errors
        return orjson.loads(line)

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def spans(self) -> list[tuple[tuple[int, int, int], list[tuple[int, list[str]]]]]:
        """Spans and messages of what trainers have begun to learn."""
        lines = self.log.read_bytes().splitlines() if self.log.exists() else []
        return [(tuple(span), messages) for span, messages in map(orjson.loads, lines)]

    def learnt(self) -> tuple[Counter, dict[int, int]]:
        """How often each example was learnt, and how far; what comes again takes the place of the first."""
        kept: dict[int, dict[int, list]] = {}
        for (partition, first, following), messages in self.spans():
            of_partition = kept.setdefault(partition, {})
            for begun in [begun for begun in of_partition if begun >= first]:
                del of_partition[begun]
            ends = [end for end, _ in of_partition.values()]
            assert first == max(ends, default=first), "a gap between two batches"
            of_partition[first] = (following, messages)
        found: Counter = Counter()
        for partition, batches in kept.items():
            for _, messages in batches.values():
                found.update((partition, offset, e) for offset, examples in messages for e in examples)
        return found, {partition: max(end for end, _ in of.values()) for partition, of in kept.items()}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path) as started:
        yield started


@pytest.fixture
def learner(cluster: Cluster, tmp_path: Path) -> Iterator[Learner]:
    learner = Learner(cluster, tmp_path)
    yield learner
    learner.close()


def ends_of(cluster: Cluster) -> dict[int, int]:
    """Behind the last message of each partition, which may be one without examples."""
    from jobs.topics import read_topic

    return {each.partition(): each.offset() + 1 for each in read_topic(cluster.job, "examples")}


def delete(cluster: Cluster, share: float) -> dict[int, int]:
    """Have the broker forget the beginning of the topic; its first offset by partition."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    firsts = {partition: int(share * end) for partition, end in ends_of(cluster).items()}
    admin = AdminClient({"bootstrap.servers": cluster.job.kafka.bootstrap})
    places = [TopicPartition("examples", partition, first) for partition, first in firsts.items()]
    done = [deleted.result().low_watermark for deleted in admin.delete_records(places).values()]
    assert sorted(done) == sorted(firsts.values())
    return firsts


@pytest.mark.timeout(600)
def test_every_example_is_learnt_once_from_the_archive_and_then_from_the_topic(
    cluster: Cluster, learner: Learner
) -> None:
    folder = cluster.run.path / "archive"
    cluster.start_task_manager()
    cluster.submit()
    writer = Writer(cluster.job.kafka.bootstrap)
    writer.write(60)
    expected = in_topic(cluster.job)
    wait_for(lambda: count(folder) >= len(expected), "the archive")
    cluster.flink.begin_stop(is_embedded=True).wait(60)
    firsts = delete(cluster, 0.9)

    learner.start_trainer()
    wait_for(lambda: len(learner.spans()) > 20, "a trainer to be under way")
    learner.kill()
    (partition, first, _), _ = learner.spans()[-1]
    assert first < firsts[partition], "the trainer was too fast for the test"
    # The archive knows nothing of these.
    writer.write(9)
    expected |= in_topic(cluster.job)
    ends = ends_of(cluster)

    learner.start_trainer()
    wait_for(lambda: learner.learnt()[1] == ends, "everything to be learnt")
    with Shards([learner.address]) as shards:
        wait_for(lambda: shards.marks() == [ends], "the marks of the shard")
    found, _ = learner.learnt()
    assert found == Counter((p, offset, example.hex()) for (_, p, offset, _), example in expected.items())
    assert "no longer has" not in learner.errors
    assert "neither" not in learner.errors
