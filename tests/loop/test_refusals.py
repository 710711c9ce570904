"""What can't work is refused in one sentence, and nothing is left running."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loop.conftest import JOBS, Started, processes_of

pytestmark = pytest.mark.stack


def assert_refused(run: Started, *words: str) -> None:
    status = run.finish(60)
    assert status != 0
    errors = [line for line in run.said.splitlines() if line.strip()]
    assert len(errors) == 1, run.said
    assert all(word in errors[0] for word in words), errors[0]
    assert not processes_of(run.directory)


def test_a_port_in_use(start: Callable[..., Started]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = start(JOBS / "demo.yaml", "--set", f"dashboard.address={address}")
        assert_refused(run, "dashboard.address", address, "in use", "another address")


def test_a_broker_that_does_not_answer(start: Callable[..., Started]) -> None:
    run = start(JOBS / "demo.yaml", "--set", "kafka.bootstrap=127.0.0.1:9")
    assert_refused(run, "kafka.bootstrap", "127.0.0.1:9", "start it")


def test_a_data_directory_that_is_not_there(start: Callable[..., Started]) -> None:
    run = start(JOBS / "kuairand.yaml", "--set", "traffic.path=/no/such/place")
    assert_refused(run, "traffic.path", "/no/such/place")


def test_waiting_for_the_end_of_traffic_that_has_none(start: Callable[..., Started]) -> None:
    assert_refused(start(JOBS / "demo.yaml", "--until-drained"), "--until-drained", "traffic.kind", "--for")


def test_a_full_disk(start: Callable[..., Started], small_disk: Path) -> None:
    run = Started(small_disk, JOBS / "demo.yaml")
    assert_refused(run, str(small_disk), "MB", "make room")
