"""How good the scores of a run were, and how it is told."""

import dataclasses
import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from jobs.summary.summarize import print_summary
from tests.jobs.topics import Topics, example, sums


def test_quality_is_that_of_the_last_half_on_the_same_examples(topics: Topics, tmp_path: Path) -> None:
    for number in range(8):
        topics.request(number, 10)
    # Wrong in the first half, right in the last; the frozen model the other way round.
    for number, label in enumerate([1, 0, 1, 0, 1, 0, 1, 0]):
        right, late = 0.2 + 0.6 * label, number >= 4
        served, frozen = (right, 1 - right) if late else (1 - right, right)
        topics.joined(number, example(number, 10, label, click=served, click_at_frozen=frozen))
    summary = topics.summarize(tmp_path)
    assert (summary["auc_online"], summary["auc_frozen"], summary["auc_best"]) == (1.0, 0.0, None)
    assert summary["labels"]["click"]["online"]["examples"] == 4
    assert summary["calibration_online"] == pytest.approx(1.0)
    assert summary["log_loss_online"] < summary["log_loss_frozen"]


def test_a_negative_that_was_sampled_counts_for_many(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, *range(5))
    examples = [
        example(1, 0, 1, rate=0.1, click=0.5),
        example(1, 1, 0, rate=0.1, click=0.6),
        example(1, 2, 0, rate=1.0, click=0.4),
    ]
    topics.joined(1, *examples)
    assert topics.summarize(tmp_path)["auc_online"] == pytest.approx(1 / 11)


def test_a_late_purchase_counts_as_one_and_its_negative_no_more(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, *range(4))
    first = example(1, 0, 0, rate=0.5, click=0.3)
    bought = example(1, 0, 1, rate=0.5, click=0.3)
    correction = dataclasses.replace(bought, was={"click": 0.0})
    others = [example(1, item, 0, rate=0.5, click=0.1) for item in (1, 2)]
    topics.joined(1, first, *others)
    topics.joined(1, correction)
    online = topics.summarize(tmp_path)["labels"]["click"]["online"]
    assert (online["auc"], online["examples"]) == (1.0, 3)
    assert online["calibration"] == pytest.approx(0.3 + 2 * 0.1 + 2 * 0.1)


def test_a_number_is_summed_up_by_its_error(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, kind="number")
    topics.request(1, *range(3))
    closed = example(1, 1, 0, rate=0.25, click=0.5)
    topics.joined(1, example(1, 0, 4, rate=0.25, click=3))
    topics.joined(1, dataclasses.replace(closed, otherwise={"click": 1.0}))
    summary = topics.summarize(tmp_path)
    assert summary["rmse_online"] == pytest.approx(((1 + 4 * 0.25) / 5) ** 0.5)
    assert summary["calibration_online"] == pytest.approx((3 + 4 * 0.5) / 4)
    assert (summary["auc_online"], summary["log_loss_online"]) == (None, None)
    console = Console(width=100, file=io.StringIO())
    print_summary(summary, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "click: RMSE as served" in text
    assert "0.6325, unknown, unknown" in text
    assert "AUC" not in text


def test_an_empty_run_has_a_summary(topics: Topics, tmp_path: Path) -> None:
    summary = topics.summarize(tmp_path)
    assert sums(summary["accounting"]) == (0, 0, 0, 0, 0)
    assert (summary["auc_online"], summary["examples"], summary["accounting"]["closes"]) == (None, 0, True)


def test_the_pace_is_that_of_traffic(topics: Topics, tmp_path: Path) -> None:
    told = {"started": 100.0, "updated": 120.0, "impressions": 5000}
    (tmp_path / "traffic.json").write_bytes(orjson.dumps(told))
    summary = topics.summarize(tmp_path)
    assert (summary["duration_s"], summary["impressions_per_s"]) == (20.0, 250.0)


def test_a_summary_is_json_and_can_be_read_by_people(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11)
    topics.joined(1, example(1, 10, 1, click=0.8), example(1, 11, 0, click=0.3))
    topics.heartbeat()
    summary = orjson.loads(orjson.dumps(topics.summarize(tmp_path)))
    console = Console(width=100, file=io.StringIO())
    print_summary(summary, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 = 2 + 0 + 0 + 0 + 0 (closes)" in text
    assert "1.0000" in text
    assert "unknown" in text


def test_the_summary_needs_no_tensorflow() -> None:
    import subprocess
    import sys

    code = "import sys, jobs.summary.summarize; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
