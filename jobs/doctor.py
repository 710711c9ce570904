"""Whether this machine has what a run needs: one check, one line, one fix each."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from jobs.spec import Job
from jobs.stack.addresses import LOOPBACK, error_of_binding, named_addresses
from jobs.stack.layout import JARS

FREE_BYTES: Final = 2 << 30
MEMORY_BYTES: Final = 4 << 30
ASK_S: Final = 5.0
_SETUP: Final = "make setup"
_PACKAGES: Final = ("tensorflow", "pyflink", "confluent_kafka", "pyarrow", "rocksdict", "fastapi", "aiohttp")
"""What a run imports and a half-finished set-up lacks."""

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    fix: str | None = None
    """What to do about it; None: nothing."""


def examine(job: Job | None) -> Iterator[Check]:
    """Every check, one after another; those of addresses and data need a job."""
    for check in (_python, _java, _maven, _compiler, _native, _packages, _jars, _loopback, _disk, _memory):
        yield check()
    if job is not None:
        for check_job in (_ports, _kafka, _flink, _data):
            yield from check_job(job)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == (3, 11):
        return Check("Python", "ok", f"{version} at {sys.executable}")
    return Check(
        "Python",
        "fail",
        f"{version}, not 3.11",
        "apt-get install python3.11 python3.11-venv, then make setup",
    )


def _java() -> Check:
    home = os.environ.get("JAVA_HOME")
    program = f"{home}/bin/java" if home else shutil.which("java")
    said = _output([program, "-version"]) if program else None
    version = re.search(r'version "(\d+)', said or "")
    if version is None:
        where = f"JAVA_HOME={home} has none" if home else "none found"
        return Check("JDK", "fail", where, "apt-get install openjdk-17-jdk-headless")
    if int(version[1]) < 17:
        return Check(
            "JDK",
            "fail",
            f"Java {version[1]}, not 17",
            "apt-get install openjdk-17-jdk-headless; unset JAVA_HOME",
        )
    return Check("JDK", "ok", f"Java {version[1]} at {program}")


def _maven() -> Check:
    return _program("Maven", ("mvn",), "maven", _has_jars(), "the jars are there already")


def _compiler() -> Check:
    names = (os.environ.get("CXX") or "c++", "g++", "clang++")
    return _program("C++ compiler", names, "g++", _has_native(), "the native module is there already")


def _program(name: str, programs: tuple[str, ...], package: str, is_optional: bool, why: str) -> Check:
    """One of `programs`; only needed for the set-up, so optional once that is done."""
    found = next(filter(None, map(shutil.which, programs)), None)
    if found:
        return Check(name, "ok", found)
    if is_optional:
        return Check(name, "warn", f"none found; {why}", f"apt-get install {package}, to set up again")
    return Check(name, "fail", "none found", f"apt-get install {package}")


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr


def _has_native() -> bool:
    return importlib.util.find_spec("ps._core") is not None


def _native() -> Check:
    try:
        import ps._core
    except ImportError as error:
        return Check("native module", "fail", f"ps._core can't be loaded: {error}", _SETUP)
    return Check("native module", "ok", str(ps._core.__file__))


def _packages() -> Check:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", _SETUP)
    return Check("packages", "ok", f"{', '.join(_PACKAGES)}")


def _has_jars() -> bool:
    return not _missing_jars()


def _missing_jars() -> list[str]:
    return [
        folder
        for folder in ("broker", "connector", "joiner", "archive")
        if not any((JARS / folder).glob("*.jar"))
    ]


def _jars() -> Check:
    if missing := _missing_jars():
        return Check("jars", "fail", f"none for the {' and the '.join(missing)} in {JARS}", _SETUP)
    return Check("jars", "ok", str(JARS))


def _loopback() -> Check:
    error = error_of_binding(f"{LOOPBACK}:0")
    if error:
        return Check(
            "ports", "fail", f"nothing can listen on 127.0.0.1: {error}", "allow it to open ports on loopback"
        )
    return Check("ports", "ok", "free ones on 127.0.0.1")


def _disk() -> Check:
    place = Path("runs") if Path("runs").exists() else Path()
    free = shutil.disk_usage(place).free
    detail = f"{free / (1 << 30):.1f} GB free at {place.resolve()}"
    if free < FREE_BYTES:
        return Check(
            "disk", "fail", detail, f"make room for {FREE_BYTES >> 30} GB, or run elsewhere with --run-dir"
        )
    return Check("disk", "ok", detail)


def _memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available
    detail = f"{free / (1 << 30):.1f} GB available"
    if free < MEMORY_BYTES:
        return Check(
            "memory", "warn", detail, f"the demo uses about {MEMORY_BYTES >> 30} GB: close other programs"
        )
    return Check("memory", "ok", detail)


def _ports(job: Job) -> Iterator[Check]:
    """Addresses where parts of this machine will listen; those of other machines can't be tried from here."""
    for where, address in named_addresses(job):
        error = error_of_binding(address)
        fix = f"stop what uses it, or change {where}; right if the part runs already or elsewhere"
        state: State = "warn" if error else "ok"
        yield Check(where, state, f"{address}: {error or 'free'}", fix if error else None)


def _kafka(job: Job) -> Iterator[Check]:
    kafka = job.kafka
    if kafka.bootstrap == "embedded":
        yield Check("Kafka", "ok", "embedded: the run starts its own")
        return
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        settings = {**kafka.client, "bootstrap.servers": kafka.bootstrap, "log_level": 0}
        client = AdminClient({**settings, "error_cb": lambda _: None})
        topics = client.list_topics(timeout=ASK_S).topics
    except KafkaException as error:
        fix = "start it, or correct kafka.bootstrap or kafka.client"
        yield Check("Kafka", "fail", f"{kafka.bootstrap}: {error.args[0].str()}", fix)
        return
    missing = [name for name in kafka.topics.model_dump().values() if name not in topics]
    made = f"; the run will create {', '.join(missing)}" if missing else ""
    yield Check("Kafka", "ok", f"{kafka.bootstrap} answers{made}")


def _flink(job: Job) -> Iterator[Check]:
    address = job.joiner.flink_address
    if address is None:
        yield Check("Flink", "ok", "embedded: the run starts its own")
        return
    from http.client import HTTPException

    from jobs.http import ask

    try:
        ask(f"http://{address}/overview", ASK_S)
        yield Check("Flink", "ok", f"{address} answers")
    except (OSError, HTTPException, ValueError) as error:
        fix = "start the cluster, or correct joiner.flink_address"
        reason = getattr(error, "reason", error)
        yield Check("Flink", "fail", f"{address}: {getattr(reason, 'strerror', None) or reason}", fix)


def _data(job: Job) -> Iterator[Check]:
    if job.traffic.kind != "replay":
        return
    from jobs.traffic.check import check_path
    from jobs.traffic.paths import BadPathError

    try:
        check_path(job)
    except BadPathError as error:
        yield Check("data", "fail", str(error), "--set traffic.path=…")
        return
    yield Check("data", "ok", str(job.traffic.path))
