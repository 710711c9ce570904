"""Which parts a job needs on this machine, in which order, and how each of them is started."""

import socket
import sys
from collections.abc import Callable, Iterator, Sequence

from jobs.archive import archive_job
from jobs.spec import Job
from jobs.stack.addresses import free_addresses, free_ports
from jobs.stack.broker import Broker, answers, create_topics
from jobs.stack.flink import Flink
from jobs.stack.flink_job import FlinkJob
from jobs.stack.layout import PROJECT, RunDirectory
from jobs.stack.part import Part, has_said_ready
from jobs.stack.rest import FlinkUnreachableError


def plan(given: Job, job: Job, run: RunDirectory) -> list[Part]:
    """The parts of `job`, with all addresses; `given`, as it was written, says what is embedded."""
    broker = list(_broker(job, run)) if given.kafka.bootstrap == "embedded" else []
    flink = Flink(job, run)
    cluster = list(_flink(flink, job)) if given.joiner.flink_address is None else []
    on = tuple(part.name for part in broker)
    needs = (*on, *(part.name for part in cluster))
    submitted = [_submitted("joiner", flink, bool(cluster), needs)]
    if job.joiner.archive is not None:
        archive = Flink(archive_job(job), run, is_archive=True)
        submitted.append(_submitted("archive", archive, bool(cluster), needs))
    learners = [*_own(job, run, on), *submitted]
    return [*broker, _dashboard(job, run), *cluster, *learners, *_traffic(job, run, on)]


def _broker(job: Job, run: RunDirectory) -> Iterator[Part]:
    address = job.kafka.bootstrap
    broker = Broker(run.kafka, address, next(free_addresses()), job.kafka)

    def is_ready(part: Part) -> bool:
        if not (_listens(address) and answers(address, {})):
            return False
        create_topics(job.kafka)
        return True

    yield Part(
        "broker",
        "broker",
        0,
        lambda resume: broker.command,
        is_ready,
        address=address,
        prepare=broker.prepare,
    )


def _flink(flink: Flink, job: Job) -> Iterator[Part]:
    rpc_port, blob_port = (port for port, _ in zip(free_ports(), range(2), strict=False))
    manager_metrics, *metrics = job.joiner.metrics_addresses
    manager = flink.job_manager(rpc_port, blob_port, manager_metrics)

    def is_answering(part: Part) -> bool:
        try:
            return bool(flink.rest.get("/overview"))
        except FlinkUnreachableError:
            return False

    yield Part(
        "jobmanager",
        "jobmanager",
        0,
        lambda resume: manager,
        is_answering,
        address=flink.address,
        env=flink.env,
        prepare=flink.prepare,
    )
    for index, address in enumerate(metrics):
        yield Part(
            f"taskmanager-{index}",
            "taskmanager",
            index,
            lambda resume, address=address: flink.task_manager(rpc_port, address),  # type: ignore[misc]
            lambda part, address=address: _listens(address),  # type: ignore[misc]
            # Not the JobManager: it may come back while this one lives on.
            address=address,
            env=flink.env,
            prepare=flink.prepare,
        )


def _submitted(role: str, flink: Flink, is_embedded: bool, needs: tuple[str, ...]) -> Part:
    job = FlinkJob(flink, is_embedded)
    return Part(
        role,
        role,
        0,
        lambda resume: flink.submission(is_embedded=is_embedded, resume=resume),
        job.is_running,
        needs=needs,
        address=flink.address,
        env=flink.env,
        check=job.trouble,
        is_over=lambda: job.is_over,
        prepare=flink.prepare,
    )


def _own(job: Job, run: RunDirectory, on: tuple[str, ...]) -> Iterator[Part]:
    """The parts that are our own programs and run until they are stopped."""
    for role, addresses in (
        ("ps", job.ps.addresses),
        ("trainer", job.trainer.metrics_addresses),
        ("replica", job.serving.addresses),
    ):
        for index, address in enumerate(addresses):
            yield Part(
                f"{role}-{index}",
                role,
                index,
                _role_command(run, role, index),
                has_said_ready,
                needs=on,
                address=address,
                env=_env(run),
            )


def _dashboard(job: Job, run: RunDirectory) -> Part:
    command = _role_command(run, "dashboard", 0)
    return Part(
        "dashboard", "dashboard", 0, command, has_said_ready, address=job.dashboard.address, env=_env(run)
    )


def _traffic(job: Job, run: RunDirectory, on: tuple[str, ...]) -> Iterator[Part]:
    if job.traffic.kind == "none":
        return
    replicas = tuple(f"replica-{index}" for index in range(len(job.serving.addresses)))
    yield Part(
        "traffic",
        "traffic",
        0,
        _role_command(run, "traffic", 0),
        has_said_ready,
        # Before the joiner runs nothing would be learnt, and the first minutes would be a race to catch up.
        needs=(*on, *replicas, "joiner"),
        address=job.traffic.metrics_address,
        env=_env(run),
        is_finite=True,
    )


def _env(run: RunDirectory) -> dict[str, str]:
    return {
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(run.scratch),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # One process per role: threads of libraries would only take the cores from the other roles.
        "OMP_NUM_THREADS": "1",
    }


def _role_command(run: RunDirectory, role: str, index: int) -> Callable[[bool], Sequence[str]]:
    command = [sys.executable, "-m", "jobs", "run", str(run.job_file)]
    command += ["--role", role, "--index", str(index), "--run-dir", str(run.path)]
    return lambda resume: [*command, "--resume"] if resume else command


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.5).close()
    except OSError:
        return False
    return True
