import http.server
import threading
from collections.abc import Iterator

import pytest

from jobs.scrape import Scraper, read_json, read_samples, total


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_answers_is_read_and_what_does_not_is_left_out(address: str) -> None:
    scraper = Scraper()
    urls = [f"http://{address}/a", f"http://{address}/missing", "http://127.0.0.1:1/", "nonsense"]
    assert scraper.fetch(urls) == {f"http://{address}/a": b"/a"}
    assert scraper.fetch(urls[:1]) == {f"http://{address}/a": b"/a"}
    scraper.close()


def test_a_proxy_of_the_environment_is_never_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    scraper = Scraper()
    assert scraper.fetch([f"http://{address}/a"])
    scraper.close()


FLINK = b"""# HELP flink_taskmanager_job_task_operator_freshet_joiner_examples x
# TYPE flink_taskmanager_job_task_operator_freshet_joiner_examples gauge
flink_taskmanager_job_task_operator_freshet_joiner_examples{job_id="a",subtask_index="0",} 3.0
flink_taskmanager_job_task_operator_freshet_joiner_examples{job_id="a",subtask_index="1",} 4.0
flink_taskmanager_Status_JVM_CPU_Load{host="h",} 0.1
freshet_broken{ 1
"""


def test_a_metric_is_found_behind_flinks_scope_and_summed_over_subtasks() -> None:
    assert total(read_samples(FLINK, ("freshet_",)), "freshet_joiner_examples") == 7.0


def test_lines_nobody_asked_for_or_that_make_no_sense_are_left_out() -> None:
    assert {s.name for s in read_samples(FLINK, ("freshet_",))} == {
        "flink_taskmanager_job_task_operator_freshet_joiner_examples"
    }
    assert read_samples(None, ("freshet_",)) == []
    assert total([], "freshet_joiner_examples") is None


@pytest.mark.parametrize("body", [None, b"", b"{", b"[1]", b"\xff"])
def test_what_is_no_json_object_is_empty(body: bytes | None) -> None:
    assert read_json(body) == {}
