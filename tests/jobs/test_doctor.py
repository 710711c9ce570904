import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs import doctor
from jobs.doctor import Check, examine
from jobs.spec import Job


def job(**blocks: Any) -> Job:
    schema = {"features": {"u": {"from": "user.u"}}, "labels": {"click": {"action": "click"}}}
    return Job.model_validate({"name": "films", "schema": schema, **blocks})


def checks(job: Job | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(job)}


def test_every_check_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "JARS", tmp_path)
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "MEMORY_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "_PACKAGES", ("no_such_package",))
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    found = checks()
    assert [name for name, check in found.items() if check.state == "fail"] == [
        *("Python", "JDK", "Maven", "packages", "jars", "disk"),
    ]
    assert all(check.fix for check in found.values() if check.state != "ok")
    assert found["C++ compiler"].state == "warn"
    assert found["memory"].state == "warn"


def test_an_old_java_is_refused_and_a_new_one_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/java")
    for version, state in (("1.8.0_392", "fail"), ("11.0.2", "fail"), ("17.0.15", "ok"), ("21", "ok")):
        monkeypatch.setattr(doctor, "_output", lambda _, said=f'openjdk version "{version}" x': said)
        assert checks()["JDK"].state == state


def test_maven_is_not_needed_once_the_jars_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("broker", "connector", "joiner", "archive"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jar").touch()
    monkeypatch.setattr(doctor, "JARS", tmp_path)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert checks()["Maven"].state == "warn"
    assert checks()["jars"].state == "ok"


def test_addresses_in_use_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = checks(job(dashboard={"address": address}))["dashboard.address"]
    assert (found.state, found.detail) == ("warn", f"{address}: address already in use")


def test_an_embedded_broker_and_cluster_need_no_asking() -> None:
    found = checks(job())
    assert found["Kafka"].detail == "embedded: the run starts its own"
    assert found["Flink"].detail == "embedded: the run starts its own"


def test_a_broker_or_cluster_where_nobody_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ASK_S", 0.3)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        found = checks(job(kafka={"bootstrap": address}, joiner={"flink_address": address}))
    for name in ("Kafka", "Flink"):
        assert found[name].state == "fail"
        assert address in found[name].detail
        assert found[name].fix


def test_the_data_of_a_replay_are_read(tmp_path: Path) -> None:
    traffic = {"kind": "replay", "path": str(tmp_path / "none")}
    assert "there is no" in checks(job(traffic=traffic))["data"].detail
    assert "data" not in checks(job())


def test_a_native_module_that_is_broken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ps._core", None)
    monkeypatch.setattr(sys.modules["ps"], "_core", SimpleNamespace(), raising=False)
    monkeypatch.delattr(sys.modules["ps"], "_core")
    found = checks()["native module"]
    assert (found.state, found.fix) == ("fail", "make setup")
