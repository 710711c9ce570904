"""The embedded broker and Flink cluster as `freshet run` starts them, part by part, for the joiner alone."""

import shutil
import urllib.request

import pytest

from tests.pipelines.conftest import JOB
from tests.waiting import wait_for

PARTITIONS = 2
MAX_MESSAGE_BYTES = 1 << 20
LABELS = {
    "click": {"action": "click", "window_s": 3},
    "buy": {"action": "buy", "window_s": 5, "late_s": 12},
    "play": {"action": "play", "kind": "number", "take": "max", "window_s": 6},
    "liked": {"action": ["like", "share"], "window_s": 4, "when": "value > 1.0 && user.user_id < 50"},
}
"""Of every kind, with windows so short that a test sees them close."""


class Stack:
    """Broker, JobManager and what else a test starts; the joiner is submitted as `freshet run` submits it."""

    def __init__(self, folder, labels=None, **joiner):
        from jobs.spec import Job
        from jobs.stack.addresses import free_addresses, free_ports, resolve
        from jobs.stack.broker import Broker, create_topics
        from jobs.stack.flink import Flink
        from jobs.stack.layout import JARS, RunDirectory
        from jobs.stack.rest import FlinkUnreachableError

        if shutil.which("java") is None or not JARS.exists():
            pytest.skip("needs a JDK and the jars (`make setup`)")
        # Small messages, so that ordinary garbage is too long for them.
        kafka = {"partitions": PARTITIONS, "max_message_bytes": MAX_MESSAGE_BYTES}
        joiner = {**JOB["joiner"], "idle_s": 60.0, "max_event_bytes": 1 << 18, **joiner}
        schema = {**JOB["schema"], "labels": labels or JOB["schema"]["labels"]}
        written = {**JOB, "schema": schema, "kafka": kafka, "joiner": joiner}
        self.job = job = resolve(Job.model_validate(written))
        self.bootstrap = job.kafka.bootstrap
        self.run, self.processes, self.ports = RunDirectory(folder), [], free_ports()
        self._task_managers = []
        self.run.create()
        self._broker = Broker(self.run.kafka, self.bootstrap, next(free_addresses()), job.kafka)
        self._broker.prepare()
        self.start_broker()
        self.flink = Flink(job, self.run)
        self.flink.prepare()
        self.rpc_port, self.blob_port = next(self.ports), next(self.ports)
        self.start_job_manager()
        wait_for(self.broker_answers, "the broker")
        create_topics(job.kafka)
        wait_for(lambda: self.flink.rest.get("/overview"), "the JobManager", retry=FlinkUnreachableError)

    def start_broker(self):
        self.broker = self.start("broker", self._broker.command)

    def start_job_manager(self):
        metrics = self.job.joiner.metrics_addresses[0]
        command = self.flink.job_manager(self.rpc_port, self.blob_port, metrics)
        self.job_manager = self.start("jobmanager", command)

    def start(self, name, command):
        from jobs.stack.process import Process

        self.processes.append(Process(command, self.run.logs / f"{name}.log", self.flink_env))
        return self.processes[-1]

    @property
    def flink_env(self):
        return self.flink.env if hasattr(self, "flink") else None

    def broker_answers(self):
        from jobs.stack.broker import answers

        return answers(self.bootstrap, {})

    def has_slots(self):
        return self.flink.rest.get("/overview")["slots-available"] > 0

    def runs(self):
        from jobs.stack.rest import is_running

        live = self.flink.rest.live_job(self.job.name)
        return live is not None and is_running(live)

    def change(self, **joiner):
        """What is submitted next has other settings of `joiner`."""
        from jobs.stack.flink import Flink

        joiner = self.job.joiner.model_copy(update=joiner)
        self.job = self.job.model_copy(update={"joiner": joiner})
        self.flink = Flink(self.job, self.run)

    def become(self, name, **joiner):
        """What is submitted next is another job, with topics of its own."""
        from jobs.stack.broker import create_topics

        topics = {kind: f"{kind}-{name}" for kind in type(self.job.kafka.topics).model_fields}
        kafka = self.job.kafka.model_copy(update={"topics": self.job.kafka.topics.model_copy(update=topics)})
        self.job = self.job.model_copy(update={"name": name, "kafka": kafka})
        create_topics(kafka)
        self.change(**joiner)

    def cancel(self):
        """Ends the job, wherever it is."""
        self.flink.cancel()
        wait_for(lambda: self.flink.rest.live_job(self.job.name) is None, "the end of the job")

    def start_task_manager(self, number=0):
        metrics = self.job.joiner.metrics_addresses[1 + number]
        command = self.flink.task_manager(self.rpc_port, metrics)
        self._task_managers.append(self.start(f"taskmanager-{number}", command))
        return self._task_managers[-1]

    def kill_task_managers(self):
        for process in self._task_managers:
            process.kill()

    def submit(self, *, resume=False):
        submission = self.start("joiner", self.flink.submission(is_embedded=True, resume=resume))
        assert submission.wait(120), "flink run does not end"
        assert submission.status() == 0, submission.output().decode()

    def topic(self, kind):
        """The name of one of the job's topics."""
        return getattr(self.job.kafka.topics, kind)

    def event_time_ms(self):
        """How far the join is; None while it has no time."""
        from jobs.joiner import WATERMARK, watermark_ms
        from jobs.scrape import read_samples

        return watermark_ms(read_samples(self._metrics(), (WATERMARK,)))

    def metric(self, name):
        """The sum over the subtasks of the first TaskManager; None while there is none."""
        lines = self._metrics().decode().splitlines()
        values = [float(line.rpartition(" ")[2]) for line in lines if f"_freshet_joiner_{name}{{" in line]
        return sum(values) if values else None

    def _metrics(self):
        address = self.job.joiner.metrics_addresses[1]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return answer.read()

    def wait_for_checkpoints(self, number):
        """So many more have been taken."""
        job_id = self.flink.rest.live_job(self.job.name)["jid"]

        def taken():
            return self.flink.rest.get(f"/jobs/{job_id}/checkpoints")["counts"]["completed"]

        before = taken()
        wait_for(lambda: taken() >= before + number, "checkpoints")

    def kill(self):
        for process in reversed(self.processes):
            process.kill()
