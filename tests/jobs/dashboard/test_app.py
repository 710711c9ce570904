import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.dashboard.app import ASSETS, run_dashboard
from jobs.errors import JobError


def events(url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of the stream, until it ends."""
    with urllib.request.urlopen(f"{url}events", timeout=10) as stream:
        name = ""
        for line in stream:
            key, _, value = line.decode().strip().partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                yield name, json.loads(value)


def get(url: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


@pytest.mark.stack
def test_looks_are_pushed_and_a_late_visitor_is_sent_the_past(pretended: Any, dashboard: Any) -> None:
    stream = events(dashboard.url)
    for _ in range(4):
        pretended.move(50)
        _, message = next(stream)
    assert message["seen"]["auc"]["online"] == 0.71
    assert message["age_s"] < 5
    stream.close()
    late = events(dashboard.url)
    name, past = next(late)
    assert name == "history"
    assert len(past["columns"]["at"]) >= 3
    assert {len(column) for column in past["columns"].values()} == {len(past["columns"]["at"])}
    name, message = next(late)
    assert name == "observation"
    assert message["point"]["at"] > past["columns"]["at"][-1]
    late.close()


@pytest.mark.stack
def test_logs_and_the_job_file_are_shown_and_nothing_else(pretended: Any, dashboard: Any) -> None:
    (pretended.run_dir / "logs" / "ps-0.log").write_text("hello\n")
    assert get(f"{dashboard.url}logs/ps-0")[:2] == (200, "hello")
    outside = ("logs/..%2Fjob", "logs/../roles.json", "logs/%2e%2e%2froles", "assets/%2e%2e/app.py")
    for path in outside:
        assert get(dashboard.url + path)[0] == 404, path
    assert "name: demo" in get(f"{dashboard.url}job")[1]
    assert get(f"{dashboard.url}healthz")[:2] == (200, '{"healthy":true}')


@pytest.mark.stack
@pytest.mark.parametrize("path", ["", "events", "assets/dashboard.js", "logs/none"])
def test_the_browser_is_told_to_load_nothing_from_elsewhere(dashboard: Any, path: str) -> None:
    with socket.create_connection(tuple(dashboard.address.split(":")), timeout=10) as asking:
        asking.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = asking.recv(4096).decode().lower()
    assert "content-security-policy: default-src 'none'; script-src 'self';" in head
    assert "x-content-type-options: nosniff" in head


@pytest.mark.stack
def test_it_ends_at_once_with_status_0_while_pages_are_open(dashboard: Any) -> None:
    stream = events(dashboard.url)
    next(stream)
    assert dashboard.stop() == 0
    assert sum(1 for _ in stream) < 30


def test_an_address_in_use_is_one_sentence(pretended: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(JobError, match=f"dashboard.address: can't listen on {address}"):
            run_dashboard(pretended.job(dashboard={"address": address}), pretended.run_dir)


def test_no_asset_names_another_site() -> None:
    text_files = [path for path in ASSETS.iterdir() if path.suffix in (".html", ".js", ".css")]
    own = [path for path in text_files if "uPlot" not in path.name]
    assert own
    for path in own:
        text = Path(path).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
