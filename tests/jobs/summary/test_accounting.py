"""The sum of a run as its parts left it: of the impressions, and of the actions."""

import dataclasses
import time
from pathlib import Path

import orjson

from tests.jobs.topics import START_MS, Topics, example, sums


def test_a_drained_run_closes(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11, 12)
    topics.request(2, 10)
    topics.action(1, 11)
    topics.put("features", b"{garbage")
    topics.dead("features", b"{garbage", 2, "malformed")
    topics.heartbeat()
    topics.joined(1, example(1, 11, 1))
    topics.joined(1, example(1, 10, 0), sampled_away=1)
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
    topics.joined(1, example(1, 11, 1))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (2, 1, 0, 0, 1)
    assert accounting["closes"]


def test_what_vanished_is_lost_and_the_sum_does_not_close(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10, 11)
    topics.action(1, 11)
    topics.heartbeat()
    topics.joined(1, example(1, 10, 0))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (2, 1, 0, 0, 0)
    assert (accounting["lost"], accounting["closes"]) == (1, False)
    assert not accounting["actions"]["closes"]


def test_a_label_that_is_resolved_twice_is_a_duplicate(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10)
    topics.heartbeat()
    topics.joined(1, example(1, 10, 0))
    topics.joined(1, example(1, 10, 0))
    accounting = topics.summarize(tmp_path)["accounting"]
    assert (accounting["out"], accounting["duplicates"], accounting["closes"]) == (1, 1, False)


def test_an_event_that_was_sent_twice_counts_once(topics: Topics, tmp_path: Path) -> None:
    for _ in range(2):
        topics.request(1, 10)
        topics.action(1, 10)
    topics.heartbeat()
    topics.joined(1, example(1, 10, 1))
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
    topics.joined(1, example(1, 10, 5), sampled_away=1, unlabelled=1)
    accounting = topics.summarize(tmp_path)["accounting"]
    assert sums(accounting) == (3, 1, 1, 0, 0)
    assert (accounting["unlabelled"], accounting["closes"]) == (1, True)


def test_a_correction_is_no_duplicate_but_a_second_one_is(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, late_s=20)
    topics.request(1, 10)
    topics.action(1, 10, ts=START_MS + 15_000)
    topics.heartbeat()
    correction = dataclasses.replace(example(1, 10, 1), was={"click": 0.0})
    topics.joined(1, example(1, 10, 0))
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
    drawn = dataclasses.replace(example(1, 11, 0), masks={"click": 0.0}, pool_probability=0.25, pool_for="10")
    topics.joined(1, example(1, 10, 1), drawn)
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
    topics.joined(1, example(1, 11, 1), sampled_away=2)
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
    closed = dataclasses.replace(example(1, 10, 0), otherwise={"click": 1.0})
    topics.joined(1, closed, example(1, 11, 0))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["used"], actions["unfounded"], actions["closes"]) == (1, 0, True)


def test_a_label_without_the_action_that_it_claims_is_noticed(topics: Topics, tmp_path: Path) -> None:
    topics.request(1, 10)
    topics.heartbeat()
    topics.joined(1, example(1, 10, 1))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["unfounded"], actions["closes"]) == (1, False)


def test_of_several_actions_of_one_label_each_is_used(bootstrap: str, tmp_path: Path) -> None:
    topics = Topics(bootstrap, action=["like", "share", "save"])
    topics.request(1, 10)
    topics.action(1, 10, "like")
    topics.action(1, 10, "share")
    topics.heartbeat()
    topics.joined(1, example(1, 10, 1))
    actions = topics.summarize(tmp_path)["accounting"]["actions"]
    assert (actions["in"], actions["used"], actions["closes"]) == (2, 2, True)
