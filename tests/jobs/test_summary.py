"""A run as the parts leave it: events in, and what a joiner made of them, on a broker inside this process."""

import dataclasses
import io
import time
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from rich.console import Console

from jobs.spec import Job
from jobs.summary import print_summary, summarize
from pipelines.codec import encode
from pipelines.records import Example

START_MS = 1_764_000_000_000
FAR_MS = START_MS + 10**9


class Topics:
    """The five topics of one job, and what is put into them."""

    def __init__(self, bootstrap: str, **label: Any) -> None:
        run = uuid.uuid4().hex
        names = ("features", "actions", "examples", "dead_letters", "updates")
        self.names = {name: f"{name}-{run}" for name in names}
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        for name in self.names.values():
            self._producer.list_topics(name, timeout=10)
        schema = {
            "features": {"item_id": {"from": "item.item_id"}},
            "labels": {"click": {"action": "click", "window_s": 10, **label}},
        }
        kafka = {"bootstrap": bootstrap, "topics": self.names, "client": {"log_level": "0"}}
        self.job = Job.model_validate({"name": "test", "kafka": kafka, "schema": schema})

    def put(
        self, topic: str, value: bytes | None, key: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        encoded = {name: str(header).encode() for name, header in (headers or {}).items()}
        self._producer.produce(self.names[topic], value, key, 0, headers=encoded)

    def request(self, number: int, *items: int) -> None:
        shown = [{"item_id": item} for item in items]
        event = {"request_id": f"r-{number}", "ts": START_MS + number, "items": shown}
        self.put("features", orjson.dumps(event))

    def action(self, number: int, item: int, action: str = "click", **more: Any) -> None:
        event = {"request_id": f"r-{number}", "item_id": item, "action": action, "ts": START_MS + number}
        self.put("actions", orjson.dumps(event | more))

    def heartbeat(self, ts_ms: int = FAR_MS) -> None:
        self.put("features", orjson.dumps({"ts": ts_ms, "items": []}))
        self.put("actions", orjson.dumps({"ts": ts_ms, "action": ""}))

    def example(self, number: int, item: int, label: float, *, rate: float = 1.0, **scores: float) -> Example:
        return Example(
            request_id=f"r-{number}",
            item_id=str(item),
            ts_ms=START_MS + number,
            joined_ts_ms=START_MS + 1000 * number,
            action_ts_ms=0,
            action_logged_ts_ms=0,
            sampling_rate=rate,
            features={"item_id": item},
            labels={"click": label},
            masks={"click": 1.0},
            scores={name.replace("_at_", "@"): score for name, score in scores.items()},
        )

    def joined(self, number: int, *examples: Example, sampled_away: int = 0, unlabelled: int = 0) -> None:
        self.put("examples", b"".join(encode(examples, sampled_away, unlabelled)), f"r-{number}")

    def dead(self, topic: str, value: bytes | None, offset: int, reason: str) -> None:
        headers = {
            "topic": self.names[topic],
            "partition": 0,
            "offset": offset,
            "reason": reason,
            "detail": "",
        }
        self.put("dead_letters", value, headers=headers)

    def summarize(self, run_dir: Path) -> dict[str, Any]:
        assert self._producer.flush(10) == 0
        return summarize(self.job, run_dir)


@pytest.fixture
def topics(bootstrap: str) -> Topics:
    return Topics(bootstrap)


SUMS = ("in", "out", "sampled", "dead", "waiting")
"""Without `unlabelled`, which is 0 unless a test says so."""


def sums(accounting: dict[str, Any]) -> tuple[int, ...]:
    return tuple(accounting[name] for name in SUMS)


def test_a_drained_run_closes(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11, 12)
    topics.request(2, 10)
    topics.action(1, 11)
    topics.put("features", b"{garbage")
    topics.dead("features", b"{garbage", 2, "malformed")
    topics.heartbeat()
    topics.joined(1, topics.example(1, 11, 1))
    topics.joined(1, topics.example(1, 10, 0), sampled_away=1)
    topics.joined(2, sampled_away=1)
    summary = topics.summarize(tmp_path)
    accounting = summary["accounting"]
    assert summary["examples"] == 2
    assert sums(accounting) == (5, 2, 2, 1, 0)
    assert (accounting["closes"], accounting["lost"], accounting["duplicates"]) == (True, 0, 0)
    assert accounting["dead_by_reason"] == {"malformed": 1}
    assert (accounting["actions"]["in"], accounting["actions"]["used"]) == (1, 1)
    assert accounting["actions"]["closes"]


def test_what_waits_for_its_window_is_waiting(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11)
    topics.action(1, 11)
    topics.heartbeat(START_MS + 5000)
    topics.joined(1, topics.example(1, 11, 1))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (2, 1, 0, 0, 1)
    assert accounting["closes"]


def test_what_vanished_is_lost_and_the_sum_does_not_close(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11)
    topics.action(1, 11)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 0))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (2, 1, 0, 0, 0)
    assert (accounting["lost"], accounting["closes"]) == (1, False)
    assert not accounting["actions"]["closes"]


def test_a_label_that_is_resolved_twice_is_a_duplicate(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 0))
    topics.joined(1, topics.example(1, 10, 0))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert (accounting["out"], accounting["duplicates"], accounting["closes"]) == (1, 1, False)


def test_an_event_that_was_sent_twice_counts_once(topics: Topics, tmp_path: Path) -> None:
    for _ in range(2):
        topics.request(1, 10)
        topics.action(1, 10)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 1))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (1, 1, 0, 0, 0)
    assert (accounting["closes"], accounting["repeated"]) == (True, 1)
    assert (accounting["actions"]["repeated"], accounting["actions"]["closes"]) == (1, True)


def test_a_late_request_is_dead_with_all_its_items(topics: Topics, tmp_path: Path) -> None:
    topics.heartbeat()
    topics.request(1, 10, 11, 12)
    late = orjson.dumps(
        {"request_id": "r-1", "ts": START_MS + 1, "items": [{"item_id": i} for i in (10, 11, 12)]}
    )
    topics.dead("features", late, 1, "late")
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (3, 0, 0, 3, 0)
    assert accounting["closes"]


def test_an_event_too_long_for_its_letter_is_one_dead_impression(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11, 12)
    topics.dead("features", None, 0, "too-large")
    topics.heartbeat()
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (1, 0, 0, 1, 0)
    assert accounting["closes"]


def test_a_request_of_a_fast_clock_is_not_lost_before_the_log_comes_to_it(
    topics: Topics, tmp_path: Path
) -> None:
    ahead_ms = int(time.time() * 1000) + 300_000
    items = [{"item_id": 10}]
    for topic, event in {"features": {"items": items}, "actions": {"item_id": 10, "action": "share"}}.items():
        for request_id, ts_ms in {"fast": ahead_ms, "faster": ahead_ms + 60_000}.items():
            topics.put(topic, orjson.dumps({"request_id": request_id, "ts": ts_ms, **event}))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (2, 0, 0, 0, 2)
    assert accounting["closes"]


def test_orphans_and_actions_of_no_label_are_told_apart(topics: Topics, tmp_path: Path) -> None:
    topics.action(7, 10)
    topics.action(7, 10, action="share")
    topics.dead("actions", b"whatever", 0, "orphan")
    topics.heartbeat()
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["in"], actions["used"], actions["unused"], actions["dead"]) == (2, 0, 1, 1)
    assert actions["closes"]


def test_a_malformed_event_without_its_dead_letter_is_noticed(topics: Topics, tmp_path: Path) -> None:
    topics.put("features", b"[]")
    topics.heartbeat()
    assert not topics.summarize(tmp_path)["accounting"]["closes"]


def test_items_of_no_label_are_accounted_for(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, kind="number", otherwise=None)
    topics.request(1, 10, 11, 12)
    topics.action(1, 10)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 5), sampled_away=1, unlabelled=1)
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (3, 1, 1, 0, 0)
    assert (accounting["unlabelled"], accounting["closes"]) == (1, True)


def test_a_correction_is_no_duplicate_but_a_second_one_is(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, late_s=20)
    topics.request(1, 10)
    topics.action(1, 10, ts=START_MS + 15_000)
    topics.heartbeat()
    correction = dataclasses.replace(topics.example(1, 10, 1), was={"click": 0.0})
    topics.joined(1, topics.example(1, 10, 0))
    topics.joined(1, correction)
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (1, 1, 0, 0, 0)
    assert (accounting["closes"], accounting["corrections"], accounting["duplicates"]) == (True, 1, 0)
    assert (accounting["actions"]["used"], accounting["actions"]["closes"]) == (1, True)
    topics.joined(1, correction)
    accounting = topics.summarize(tmp_path)["accounting"]
    assert (accounting["duplicates"], accounting["closes"]) == (1, False)


def test_of_copies_of_an_orphan_one_is_given_up_for_all(topics: Topics, tmp_path: Path) -> None:
    for _ in range(2):
        topics.action(7, 10)
    topics.dead("actions", orjson.dumps({}), 1, "orphan")
    topics.heartbeat()
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["in"], actions["dead"], actions["repeated"], actions["closes"]) == (1, 1, 1, True)


def test_an_impression_waits_as_long_as_late_actions_count(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, late_s=20)
    topics.request(1, 10)
    topics.heartbeat(START_MS + 25_000)
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (1, 0, 0, 0, 1)
    topics.heartbeat()
    assert topics.summarize(tmp_path)["accounting"]["lost"] == 1


def test_drawn_negatives_are_no_impressions(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10)
    topics.action(1, 10)
    topics.heartbeat()
    drawn = dataclasses.replace(
        topics.example(1, 11, 0), masks={"click": 0.0}, pool_probability=0.25, pool_for="10"
    )
    topics.joined(1, topics.example(1, 10, 1), drawn)
    summary = topics.summarize(tmp_path)
    assert (summary["examples"], summary["accounting"]["pooled"]) == (1, 1)
    assert sums(summary["accounting"]) == (1, 1, 0, 0, 0)
    assert summary["accounting"]["closes"]


def test_actions_that_no_rule_accepts_are_unused(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, when="value >= 10 && item.item_id < 20")
    topics.request(1, 10, 11, 20)
    topics.action(1, 10, value=3)
    topics.action(1, 11, value=3)
    topics.action(1, 11, value=12)
    topics.action(1, 20, value=12)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 11, 1), sampled_away=2)
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["in"], actions["used"], actions["unused"], actions["repeated"]) == (3, 1, 2, 1)
    assert actions["closes"]


def test_a_number_waits_for_the_window_of_its_request(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, kind="number", take="last")
    topics.request(1, 10)
    topics.action(1, 10, ts=START_MS - 5_000)
    topics.heartbeat(START_MS + 10_000)
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["used"], actions["waiting"], actions["closes"]) == (0, 1, True)
    topics.heartbeat()
    assert not topics.summarize(tmp_path)["accounting"]["actions"]["closes"]


def test_what_a_number_is_without_an_action_uses_none(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, kind="number")
    topics.request(1, 10, 11)
    topics.action(1, 11, value=0)
    topics.heartbeat()
    closed = dataclasses.replace(topics.example(1, 10, 0), otherwise={"click": 1.0})
    topics.joined(1, closed, topics.example(1, 11, 0))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["used"], actions["unfounded"], actions["closes"]) == (1, 0, True)


def test_a_label_without_the_action_that_it_claims_is_noticed(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10)
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 1))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["unfounded"], actions["closes"]) == (1, False)


def test_of_several_actions_of_one_label_each_is_used(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, action=["like", "share", "save"])
    topics.request(1, 10)
    topics.action(1, 10, "like")
    topics.action(1, 10, "share")
    topics.heartbeat()
    topics.joined(1, topics.example(1, 10, 1))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["in"], actions["used"], actions["closes"]) == (2, 2, True)


def test_quality_is_that_of_the_last_half_on_the_same_examples(topics: Topics, tmp_path: Path) -> None:
    for number in range(8):
        topics.request(number, 10)
    # Wrong in the first half, right in the last; the frozen model the other way round.
    for number, label in enumerate([1, 0, 1, 0, 1, 0, 1, 0]):
        right, late = 0.2 + 0.6 * label, number >= 4
        served, frozen = (right, 1 - right) if late else (1 - right, right)
        topics.joined(number, topics.example(number, 10, label, click=served, click_at_frozen=frozen))
    summary = topics.summarize(tmp_path)
    assert (summary["auc_online"], summary["auc_frozen"], summary["auc_best"]) == (1.0, 0.0, None)
    assert summary["labels"]["click"]["online"]["examples"] == 4
    assert summary["calibration_online"] == pytest.approx(1.0)
    assert summary["log_loss_online"] < summary["log_loss_frozen"]


def test_a_negative_that_was_sampled_counts_for_many(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, *range(5))
    examples = [
        topics.example(1, 0, 1, rate=0.1, click=0.5),
        topics.example(1, 1, 0, rate=0.1, click=0.6),
        topics.example(1, 2, 0, rate=1.0, click=0.4),
    ]
    topics.joined(1, *examples)
    assert topics.summarize(tmp_path)["auc_online"] == pytest.approx(1 / 11)


def test_a_late_purchase_counts_as_one_and_its_negative_no_more(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, *range(4))
    first = topics.example(1, 0, 0, rate=0.5, click=0.3)
    bought = topics.example(1, 0, 1, rate=0.5, click=0.3)
    correction = dataclasses.replace(bought, was={"click": 0.0})
    others = [topics.example(1, item, 0, rate=0.5, click=0.1) for item in (1, 2)]
    topics.joined(1, first, *others)
    topics.joined(1, correction)
    online = topics.summarize(tmp_path)["labels"]["click"]["online"]
    assert (online["auc"], online["examples"]) == (1.0, 3)
    assert online["calibration"] == pytest.approx(0.3 + 2 * 0.1 + 2 * 0.1)


def test_a_number_is_summed_up_by_its_error(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, kind="number")
    topics.request(1, *range(3))
    closed = topics.example(1, 1, 0, rate=0.25, click=0.5)
    topics.joined(1, topics.example(1, 0, 4, rate=0.25, click=3))
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
    topics.joined(1, topics.example(1, 10, 1, click=0.8), topics.example(1, 11, 0, click=0.3))
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

    code = "import sys, jobs.summary; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
