from pathlib import Path
from typing import Any

import pytest

from jobs.dashboard.files import TAIL_BYTES, TAIL_LINES, job_text, log_tail
from jobs.spec import Job


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "ps-0.log").write_text("one\ntwo\n")
    (tmp_path / "secret.log").write_text("secret")
    return tmp_path


def test_the_end_of_a_log_is_read(run_dir: Path) -> None:
    assert log_tail(run_dir, "ps-0") == "one\ntwo"


def test_a_long_log_is_cut_to_whole_lines(run_dir: Path) -> None:
    (run_dir / "logs" / "long.log").write_text("".join(f"line {i} {'x' * 500}\n" for i in range(2000)))
    text = log_tail(run_dir, "long")
    assert text is not None
    lines = text.splitlines()
    assert len(text) <= TAIL_BYTES
    assert lines[0].startswith("line ")
    assert lines[-1].startswith("line 1999 ")
    (run_dir / "logs" / "short.log").write_text("x\n" * 2000)
    assert (log_tail(run_dir, "short") or "").count("x") == TAIL_LINES


@pytest.mark.parametrize(
    "name",
    ["../secret", "..", "", ".", "logs/ps-0", "/etc/passwd", "missing", "ps-0.log", "ps-0\n", "a" * 99],
)
def test_what_is_no_log_of_the_run_is_never_read(run_dir: Path, name: str) -> None:
    assert log_tail(run_dir, name) is None


def test_a_link_out_of_the_logs_is_not_followed(run_dir: Path) -> None:
    (run_dir / "logs" / "link.log").symlink_to(run_dir / "secret.log")
    assert log_tail(run_dir, "link") is None


def test_the_job_file_is_shown_without_its_secrets(pretended: Any) -> None:
    client = {"sasl.username": "me", "sasl.password": "hunter2", "ssl.key.location": "k"}
    job: Job = pretended.job(
        kafka={"bootstrap": "host:9092", "client": client}, snapshots={"url": "s3://id:hunter2@bucket/x"}
    )
    text = job_text(job)
    assert "hunter2" not in text
    assert "sasl.username: me" in text
    assert "name: demo" in text
    assert "from: user.user_id" in text
