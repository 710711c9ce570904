"""Which parts a job needs on this machine, in which order, and how each of them is started."""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from jobs.archive import archive_job
from jobs.spec import Job
from jobs.stack.addresses import free_addresses, free_ports
from jobs.stack.broker import Broker, answers, create_topics
from jobs.stack.flink import Flink
from jobs.stack.layout import PROJECT, RunDirectory
from jobs.stack.part import Part, PartLostError, has_said_ready
from jobs.stack.rest import FlinkUnreachableError, is_running

_CHECK_S = 1.0
"""How often the cluster is asked for the state of its jobs."""


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
    """A job on the Flink cluster."""
    looked_s, error, is_over = 0.0, None, False

    def trouble(part: Part) -> str | None:
        nonlocal looked_s, error, is_over
        if time.monotonic() - looked_s > _CHECK_S:
            looked_s = time.monotonic()
            error = trouble_of(flink)
            with suppress(FlinkUnreachableError):
                is_over = error is None and flink.has_finished()
            if error is None and not is_embedded:
                with suppress(FlinkUnreachableError):
                    flink.remember_checkpoint()
        return error

    def is_running(part: Part) -> bool:
        has_submitted = part.process is not None and part.process.status() == 0
        try:
            return has_submitted and trouble(part) is None
        except PartLostError:
            return False

    return Part(
        role,
        role,
        0,
        lambda resume: flink.submission(is_embedded=is_embedded, resume=resume),
        is_running,
        needs=needs,
        address=flink.address,
        env=flink.env,
        check=trouble,
        is_over=lambda: is_over,
        prepare=flink.prepare,
    )


def trouble_of(flink: Flink) -> str | None:
    """What keeps the job from running, if anything; raises PartLostError when the cluster has lost it."""
    try:
        live = flink.rest.live_job(flink.name)
        if live is None and flink.has_finished():
            return None
        if live is None:
            raise PartLostError(f"is not among the jobs of Flink at {flink.address}")
        if is_running(live):
            return None
        cause = flink.rest.root_cause(live["jid"])
    except FlinkUnreachableError as error:
        return f"Flink does not answer: {error}"
    running = f"{live['tasks']['running']} of {live['tasks']['total']} tasks run"
    return f"the job is {live['state'].lower()}, {running}{f': {cause}' if cause else ''}"


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
