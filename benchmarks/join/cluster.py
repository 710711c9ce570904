"""A broker and a Flink cluster as `freshet run` starts them, with a new TaskManager for each job."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson
import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from jobs.http import ask
from jobs.spec import Job
from jobs.stack.addresses import resolve
from jobs.stack.broker import create_topics
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory
from jobs.stack.part import Part
from jobs.stack.plan import plan
from jobs.stack.process import Process, stop_all
from jobs.stack.rest import FlinkUnreachableError, is_running

PATIENCE_S: Final = 180.0
Submission = Callable[[Flink, Job, RunDirectory], Sequence[str]]
"""The command that hands a job to a cluster."""


class BenchError(Exception):
    """A part did not do what it was started for."""


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`; raises BenchError when it takes too long."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        # A JobManager that is busy is asked again.
        with suppress(FlinkUnreachableError):
            if value := condition():
                return value
        time.sleep(0.1)
    raise BenchError(f"waited {PATIENCE_S:.0f} s in vain for {what}")


class Cluster:
    """Broker and JobManager, for the whole benchmark. Nothing of them outlives this process."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.run = RunDirectory(directory)
        self.run.create()
        self._job = resolve(job)
        self.kafka = self._job.kafka
        self.metrics_address = self._job.joiner.metrics_addresses[1]
        self._rest = Flink(self._job, self.run).rest
        self._parts = {part.name: part for part in plan(job, self._job, self.run)}
        self._started: list[Process] = []

    def start(self) -> None:
        for name in ("broker", "jobmanager"):
            self._launch(self._parts[name])
        for name in ("broker", "jobmanager"):
            self._await(self._parts[name])

    def stop(self) -> None:
        stop_all(self._started[::-1], 5.0)

    def placed(self, job: Job) -> Job:
        """A job with the addresses of this cluster, and its topics."""
        kafka = self.kafka.model_copy(update={"topics": job.kafka.topics})
        joiner = job.joiner.model_copy(update={"flink_address": self._job.joiner.flink_address})
        placed = job.model_copy(update={"kafka": kafka, "joiner": joiner})
        create_topics(placed.kafka)
        return placed

    def delete_topics(self, prefix: str) -> None:
        """Deletes the topics whose names begin with `prefix`: the disk is not for all of them at once."""
        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
        topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
        for deleted in admin.delete_topics(topics).values() if topics else ():
            deleted.result(30)

    def messages(self, topic: str) -> int:
        """Committed messages of a topic, and the marks that end transactions."""
        client = {"bootstrap.servers": self.kafka.bootstrap, "log_level": 0, "group.id": "benchmark"}
        consumer = Consumer({**client, "isolation.level": "read_committed"})
        try:
            places = [TopicPartition(topic, partition) for partition in range(self.kafka.partitions)]
            return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        finally:
            consumer.close()

    @contextmanager
    def task_manager(self) -> Iterator[psutil.Process]:
        """A TaskManager that starts; the job that it is for can be submitted meanwhile."""
        process = self._launch(self._parts["taskmanager-0"])
        try:
            yield psutil.Process(process.pid)
        finally:
            stop_all([process], 5.0)
            self._started.remove(process)
            wait_for(lambda: not self._rest.get("/overview")["taskmanagers"], "the TaskManager to end")

    @contextmanager
    def running(self, job: Job, submission_of: Submission) -> Iterator[str]:
        """Submits a job; its id, as long as it runs."""
        flink = Flink(job, self.run)
        submission = Process(
            submission_of(flink, job, self.run), self.run.logs / f"{job.name}.log", flink.env
        )
        if not submission.wait(PATIENCE_S) or submission.status():
            submission.kill()
            raise BenchError(f"{job.name} can't be submitted: {submission.output().decode()}")
        live = wait_for(lambda: self._rest.live_job(job.name), f"{job.name} among the jobs")
        job_id: str = live["jid"]
        try:
            self._await_running(job_id)
            yield job_id
        finally:
            self._rest.cancel(job_id)
            wait_for(lambda: self._rest.live_job(job.name) is None, f"{job.name} to end")

    def _await_running(self, job_id: str) -> None:
        def runs() -> bool:
            job = self._rest.job(job_id)
            return job is not None and is_running(job)

        try:
            wait_for(runs, "the job to run")
        except BenchError as error:
            raise BenchError(f"{error}: {self._rest.root_cause(job_id)}") from None

    def begin_savepoint(self, job_id: str) -> str:
        """Has everything in the state written out, each entry once; the number to ask for it."""
        wanted = {"target-directory": f"file://{self.run.flink}/savepoints", "formatType": "CANONICAL"}
        url = f"{self._rest.url}/jobs/{job_id}/savepoints"
        return str(orjson.loads(ask(url, 10, method="POST", body=orjson.dumps(wanted)))["request-id"])

    def savepoint_bytes(self, job_id: str, number: str) -> int | None:
        """The size of a savepoint; None: it is not whole yet."""
        with suppress(FlinkUnreachableError):
            if (location := self._rest.savepoint(job_id, number)) is not None:
                files = Path(location.removeprefix("file:")).rglob("*")
                return sum(file.stat().st_size for file in files if file.is_file())
        return None

    def checkpoint_bytes(self, job_id: str) -> int:
        """What the newest checkpoint refers to: files of RocksDB as they are."""
        path = f"/jobs/{job_id}/checkpoints"
        completed = wait_for(lambda: self._rest.get(path)["latest"]["completed"], "a checkpoint")
        return int(completed["state_size"])

    def _launch(self, part: Part) -> Process:
        part.prepare()
        part.process = Process(part.command(False), self.run.logs / f"{part.name}.log", part.env)
        self._started.append(part.process)
        return part.process

    def _await(self, part: Part) -> None:
        def is_ready() -> bool:
            if part.process is not None and part.process.status() is not None:
                raise BenchError(f"{part.name} ended: {part.process.output().decode()[-2000:]}")
            return part.is_ready(part)

        wait_for(is_ready, part.name)
