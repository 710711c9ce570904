"""Rules of single labels, one promise at a time: numbers, late actions, what an example says of the rest."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

PAGE = Path(__file__).parents[3] / "docs" / "labels.md"
SECOND_MS = 1000
LATE = {
    "click": {"action": "click", "window_s": 10, "late_s": 5},
    "buy": {"action": "buy", "window_s": 20},
}


def number(**settings):
    return {"watched": {"action": "watch", "kind": "number", "window_s": 10, **settings}}


def taught(example):
    return {label: example.labels[label] for label, mask in example.masks.items() if mask}


def lessons(cluster):
    """(item, what is taught, what is taken back) of each example."""
    return [(each.item_id, taught(each), dict(each.was)) for each in cluster.examples]


@pytest.fixture
def act(action_event):
    """`act(cluster, second, …)`: an action at a time, that arrives now."""

    def send(cluster, second, item_id=1, action="click", **more):
        ts_ms = round(second * SECOND_MS)
        cluster.send(action_event(item_id=item_id, action=action, ts_ms=ts_ms, **more), is_action=True)

    return send


# Late actions.


def test_a_late_action_corrects_the_negative_that_was_taught(make_cluster, features_event, act):
    cluster = make_cluster(1.0, LATE)
    cluster.send(features_event())
    cluster.advance(10 * SECOND_MS)
    act(cluster, 12)
    assert lessons(cluster) == [("1", {"click": 0.0}, {}), ("1", {"click": 1.0}, {"click": 0.0})]
    correction = cluster.examples[1]
    assert (correction.action_ts_ms, correction.sampling_rate) == (12_000, 1.0)
    assert cluster.counts["corrections"] == 1
    assert cluster.counts["positives"] == 0


def test_a_late_action_on_an_item_that_was_not_sampled_is_a_positive(make_cluster, features_event, act):
    cluster = make_cluster(1e-9, LATE)
    cluster.send(features_event())
    cluster.advance(10 * SECOND_MS)
    act(cluster, 12)
    assert lessons(cluster) == [("1", {"click": 1.0}, {})]
    cluster.finish()
    assert cluster.sampled_away == 0
    assert cluster.counts["positives"] == 1


def test_a_late_action_that_comes_before_its_window_has_closed_waits_for_that(
    make_cluster, features_event, act
):
    first, second = make_cluster(1.0, LATE), make_cluster(1.0, LATE)
    for cluster, watermark_ms in (first, 9_999), (second, 10_000):
        cluster.send(features_event())
        cluster.advance(watermark_ms)
        act(cluster, 11)
        assert len(cluster.examples) == (2 if cluster is second else 0)
        cluster.advance(10_000)
    assert first.examples == second.examples
    assert lessons(first) == [("1", {"click": 0.0}, {}), ("1", {"click": 1.0}, {"click": 0.0})]


def test_an_action_in_the_window_goes_before_a_late_one(make_cluster, features_event, act):
    cluster = make_cluster(1.0, LATE)
    cluster.send(features_event())
    act(cluster, 11)
    act(cluster, 9)
    cluster.advance(10_000)
    assert lessons(cluster) == [("1", {"click": 1.0}, {})]
    assert cluster.examples[0].action_ts_ms == 9_000
    assert cluster.counts["duplicates"] == 1


def test_an_item_is_corrected_once(make_cluster, features_event, act):
    cluster = make_cluster(1.0, LATE)
    cluster.send(features_event())
    cluster.advance(10_000)
    act(cluster, 12)
    act(cluster, 13)
    assert len(cluster.examples) == 2
    assert cluster.counts["duplicates"] == 1


def test_an_action_after_the_reach_of_its_label_is_late(make_cluster, features_event, act):
    cluster = make_cluster(1.0, LATE)
    cluster.send(features_event())
    cluster.advance(14_999)
    act(cluster, 15.001)
    act(cluster, 15)
    cluster.advance(15_000)
    act(cluster, 14, action="click", item_id=1)
    assert cluster.dead == [("late", 2)]
    assert [example.action_ts_ms for example in cluster.examples] == [0, 15_000]
    assert cluster.counts["duplicates"] == 1


def test_one_action_may_correct_one_label_and_make_another(make_cluster, features_event, act):
    labels = LATE | {"visit": {"action": ["click", "buy"], "window_s": 20}}
    cluster = make_cluster(1.0, labels)
    cluster.send(features_event())
    cluster.advance(10_000)
    act(cluster, 12)
    assert lessons(cluster)[1:] == [("1", {"click": 1.0, "visit": 1.0}, {"click": 0.0})]


def test_an_early_action_waits_as_long_as_it_may_count(make_cluster, features_event, act):
    cluster = make_cluster(1.0, LATE)
    act(cluster, 0)
    cluster.advance(14_999)
    assert not cluster.dead
    cluster.advance(15_000)
    assert cluster.dead == [("orphan", 1)]


# Numbers.


def test_the_first_number_leaves_at_once_with_its_value(make_cluster, features_event, act):
    cluster = make_cluster(1.0, number())
    cluster.send(features_event())
    act(cluster, 2, action="watch", value=7.3)
    act(cluster, 3, action="watch", value=9)
    cluster.finish()
    assert lessons(cluster) == [("1", {"watched": pytest.approx(7.3, rel=1e-7)}, {})]
    assert cluster.counts["duplicates"] == 1


@pytest.mark.parametrize(("take", "value", "ts_ms"), [("last", 3.0, 6000), ("max", 9.0, 2000)])
def test_the_last_or_largest_number_leaves_when_its_window_closes(
    make_cluster, features_event, act, take, value, ts_ms
):
    cluster = make_cluster(1.0, number(take=take))
    cluster.send(features_event())
    for second, watched in (2, 9.0), (6, 3.0), (4, 5.0), (6, 2.0), (6, 3.0):
        act(cluster, second, action="watch", value=watched)
    assert not cluster.examples
    cluster.advance(10_000)
    (example,) = cluster.examples
    assert (taught(example), example.action_ts_ms) == ({"watched": value}, ts_ms)
    assert not example.otherwise
    assert (cluster.counts["positives"], cluster.counts["negatives"]) == (1, 0)


def test_a_number_that_nobody_gave_is_what_the_job_says_and_marked(make_cluster, features_event, act):
    cluster = make_cluster(1.0, number(otherwise=-1.5))
    cluster.send(features_event(items=[1, 2]))
    act(cluster, 2, action="watch", value=0)
    cluster.finish()
    assert [(taught(each), dict(each.otherwise)) for each in cluster.examples] == [
        ({"watched": 0.0}, {}),
        ({"watched": -1.5}, {"watched": 1.0}),
    ]


def test_without_otherwise_nothing_is_taught_and_the_items_are_counted(make_cluster, features_event, act):
    cluster = make_cluster(0.5, number(otherwise=None))
    cluster.send(features_event(items=range(20)))
    act(cluster, 2, item_id=0, action="watch", value=4)
    cluster.finish()
    assert lessons(cluster) == [("0", {"watched": 4.0}, {})]
    assert cluster.sampled_away + cluster.unlabelled == 19
    assert cluster.sampled_away > 0
    assert cluster.unlabelled > 0


def test_a_late_number_takes_back_what_was_taught(make_cluster, features_event, act):
    cluster = make_cluster(1.0, number(otherwise=-1, late_s=5))
    cluster.send(features_event())
    cluster.advance(10_000)
    act(cluster, 12, action="watch", value=4)
    assert lessons(cluster)[1] == ("1", {"watched": 4.0}, {"watched": -1.0})
    assert not cluster.examples[1].otherwise


def test_a_late_number_of_which_nothing_was_taught_corrects_nothing(make_cluster, features_event, act):
    cluster = make_cluster(1.0, number(otherwise=None, late_s=5))
    cluster.send(features_event())
    cluster.advance(10_000)
    act(cluster, 12, action="watch", value=4)
    assert lessons(cluster) == [("1", {"watched": 4.0}, {})]


def test_a_number_that_waited_leaves_though_its_item_is_not_sampled(make_cluster, features_event, act):
    cluster = make_cluster(1e-9, number(take="last") | {"click": {"action": "click", "window_s": 10}})
    cluster.send(features_event(items=[1, 2]))
    act(cluster, 2, action="watch", value=4)
    cluster.finish()
    assert lessons(cluster) == [("1", {"watched": 4.0}, {})]
    assert cluster.sampled_away == 1


def test_what_one_close_settles_of_an_item_stands_in_one_example(make_cluster, features_event, act):
    labels = number(take="last") | {"click": {"action": "click", "window_s": 10}}
    cluster = make_cluster(1.0, labels)
    cluster.send(features_event())
    act(cluster, 2, action="watch", value=4)
    cluster.finish()
    assert lessons(cluster) == [("1", {"watched": 4.0, "click": 0.0}, {})]
    assert cluster.examples[0].action_ts_ms == 2000


# What an example says of the other labels.


def test_an_example_tells_what_is_known_of_the_labels_it_does_not_teach(make_cluster, features_event, act):
    labels = {
        "click": {"action": "click", "window_s": 10},
        "stars": {"action": "rate", "kind": "number", "window_s": 20, "otherwise": None},
        "buy": {"action": "buy", "window_s": 30},
    }
    cluster = make_cluster(1.0, labels)
    cluster.send(features_event())
    act(cluster, 1)
    act(cluster, 2, action="rate", value=4)
    cluster.advance(29_999)
    act(cluster, 30, action="buy")
    assert [(each.labels, taught(each)) for each in cluster.examples] == [
        ({"click": 1.0, "stars": 0.0, "buy": 0.0}, {"click": 1.0}),
        ({"click": 1.0, "stars": 4.0, "buy": 0.0}, {"stars": 4.0}),
        ({"click": 1.0, "stars": 4.0, "buy": 1.0}, {"buy": 1.0}),
    ]


def test_any_of_several_actions_makes_a_label(make_cluster, features_event, act):
    cluster = make_cluster(1.0, {"liked": {"action": ["like", "share"], "window_s": 10}})
    cluster.send(features_event(items=[1, 2]))
    act(cluster, 1, item_id=1, action="share")
    act(cluster, 1, item_id=2, action="like")
    act(cluster, 2, item_id=2, action="share")
    assert lessons(cluster) == [("1", {"liked": 1.0}, {}), ("2", {"liked": 1.0}, {})]
    assert cluster.counts["duplicates"] == 1


# Moments.


def test_one_timer_passes_every_moment_that_is_due_each_on_its_own(make_cluster, features_event):
    one, each = make_cluster(), make_cluster()
    for cluster in one, each:
        cluster.send(features_event())
    one.timers = {(20_000, "r")}
    one.finish()
    each.finish()
    assert one.examples == each.examples
    assert len(one.examples) == 3


def test_a_timer_of_no_moment_changes_nothing(make_cluster, features_event):
    cluster = make_cluster()
    cluster.send(features_event())
    before = dict(cluster.state)
    cluster.timers.add((2_999, "r"))
    cluster.advance(2_999)
    assert cluster.state == before
    assert not cluster.output


def test_a_request_ends_though_its_job_has_fewer_labels_by_now(make_cluster, features_event):
    before, after = make_cluster(), make_cluster(1.0, {"click": {"action": "click", "window_s": 10}})
    before.send(features_event())
    before.advance(10_000)
    after.state, after.timers = before.state, before.timers
    after.advance(20_000)
    assert not after.state
    assert not after.timers


# The documentation.


def seconds(time):
    """Of `day D, HH:MM:SS`, since nine o'clock of day 0."""
    day, hour, minute, second = map(int, re.findall(r"\d+", time))
    return day * 86_400 + (hour - 9) * 3600 + minute * 60 + second


def test_the_example_of_the_documentation_is_what_the_join_makes_of_it(make_cluster, features_event, act):
    page = PAGE.read_text()
    *_, block = re.findall(r"```yaml\n(.*?)```", page, re.S)
    labels = YAML(typ="safe").load(block)["labels"]
    rows = re.findall(r"^\| (day .*?) \| (.*?) \| (.*) \|(.*)\|$", page, re.M)
    assert [because for _, because, _, _ in rows] == [
        *("click", "like", "the window of `purchase` closes", "purchase"),
    ]
    cluster = make_cluster(0.5, labels)
    # Which the sample keeps.
    cluster.send(features_event(items=[3]))
    for number, (time, because, values, was) in enumerate(rows):
        cluster.advance(seconds(time) * SECOND_MS)
        if because in labels:
            act(cluster, seconds(time), item_id=3, action=because)
        *_, example = cluster.examples
        assert len(cluster.examples) == number + 1
        assert values == " | ".join(f"{example.labels[name]:g}/{example.masks[name]:g}" for name in labels)
        assert was.strip() == " ".join(f"`was:{name}` {value:g}" for name, value in example.was.items())
        assert example.sampling_rate == 0.5
