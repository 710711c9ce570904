"""Fills in the addresses that a job file leaves open, and refuses those that are taken."""

import random
import socket
from collections.abc import Iterator
from typing import Any

from jobs.errors import JobError
from jobs.spec import Job
from pipelines.settings import LONGEST_TRANSACTION_S

LOOPBACK = "127.0.0.1"
_PORTS = range(20_000, 32_000)
"""Below those of outgoing connections, which could take a port between its choice and its use."""


def free_ports() -> Iterator[int]:
    """Ports where nothing listens at the moment, none twice."""
    for port in random.sample(_PORTS, len(_PORTS)):
        if error_of_binding(f"{LOOPBACK}:{port}") is None:
            yield port


def free_addresses() -> Iterator[str]:
    """`free_ports` as host:port on loopback."""
    return (f"{LOOPBACK}:{port}" for port in free_ports())


def resolve(job: Job) -> Job:
    """The job with an address for every part; raises JobError when one that the file names can't be used."""
    _refuse_taken(job)
    addresses = free_addresses()

    def several(given: tuple[str, ...], count: int) -> tuple[str, ...]:
        return given or tuple(next(addresses) for _ in range(count))

    shards, workers = job.ps.shards, job.trainer.workers
    embeds_flink = job.joiner.flink_address is None
    endpoints = job.joiner.all_task_managers + 1 if embeds_flink else 0
    update = {
        "kafka": _embedded_broker(next(addresses)) if job.kafka.bootstrap == "embedded" else {},
        "ps": {
            "addresses": several(job.ps.addresses, shards),
            "metrics_addresses": several(job.ps.metrics_addresses, shards),
        },
        "trainer": {"metrics_addresses": several(job.trainer.metrics_addresses, workers)},
        "serving": {"addresses": several(job.serving.addresses, job.serving.replicas)},
        "joiner": {
            "flink_address": job.joiner.flink_address or next(addresses),
            "metrics_addresses": several(job.joiner.metrics_addresses, endpoints),
        },
        "traffic": {"metrics_address": job.traffic.metrics_address or next(addresses)},
        "dashboard": {"address": job.dashboard.address or next(addresses)},
    }
    blocks = {name: getattr(job, name).model_copy(update=block) for name, block in update.items()}
    return job.model_copy(update=blocks)


def _embedded_broker(address: str) -> dict[str, Any]:
    # A run may be resumed weeks later, in the midst of a commit.
    return {"bootstrap": address, "transaction_timeout_s": LONGEST_TRANSACTION_S}


def _refuse_taken(job: Job) -> None:
    """Raise JobError for the first address where a part could not listen."""
    for where, address in named_addresses(job):
        if (error := error_of_binding(address)) is not None:
            raise JobError(
                f"{where}: can't listen at {address} ({error}); stop what uses it, or name another address."
            )


def named_addresses(job: Job) -> Iterator[tuple[str, str]]:
    """Where the parts of this machine listen, as far as the file says: path in the file, host:port."""
    blocks = {
        "ps.addresses": job.ps.addresses,
        "ps.metrics_addresses": job.ps.metrics_addresses,
        "trainer.metrics_addresses": job.trainer.metrics_addresses,
        "serving.addresses": job.serving.addresses,
    }
    for where, addresses in blocks.items():
        for index, address in enumerate(addresses):
            yield f"{where}[{index}]", address
    singles = (
        ("traffic.metrics_address", job.traffic.metrics_address),
        ("dashboard.address", job.dashboard.address),
    )
    yield from ((where, address) for where, address in singles if address is not None)


def error_of_binding(address: str) -> str | None:
    """Why nothing can listen at host:port ([host]:port for IPv6), None when something can."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
