"""What draws from the pool promise; on Java this holds each of them to the Python ones byte for byte."""

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.join.test_logic_order import LABEL_SETS, PAUSES, logs, run

LABELS = {"click": {"action": "click", "window_s": 10}}


@settings(max_examples=80, deadline=None)
@given(log=logs(), pauses=PAUSES, labels=LABEL_SETS, size=st.integers(1, 6), negatives=st.integers(1, 3))
def test_draws_follow_their_positive_and_change_nothing_else(
    log, pauses, labels, size, negatives, make_cluster
):
    with_pool = make_cluster(0.5, labels, pool={"size": size, "negatives": negatives})
    without = make_cluster(0.5, labels)
    run(with_pool, log, pauses)
    run(without, log, pauses)
    assert [each for each in with_pool.examples if not each.pool_for] == without.examples
    assert with_pool.counts - without.counts == +Counter(
        {name: len(with_pool.examples) - len(without.examples) for name in ("examples", "pooled")}
    )
    before = None
    for example in with_pool.examples:
        if example.pool_for:
            assert (example.request_id, example.pool_for) == (before.request_id, before.item_id)
            assert before.masks[next(iter(labels))] == 1
            assert not any(example.masks.values())
            assert example.item_id != example.pool_for
        else:
            before = example
    at_most = Counter(each.pool_for + "\0" + each.request_id for each in with_pool.examples if each.pool_for)
    assert all(number <= negatives for number in at_most.values())


def test_an_item_is_drawn_as_often_as_it_was_shown(make_cluster, features_event, action_event):
    cluster = make_cluster(1.0, LABELS, pool={"size": 100, "negatives": 50})
    cluster.send(features_event("old", 0, ["forgotten"]))
    for number in range(100):
        item_id = "abbccccccc"[number % 10]
        cluster.send(features_event(f"r{number}", number, [item_id]))
    drawn = Counter()
    for number in range(100):
        cluster.send(action_event(f"r{number}", "abbccccccc"[number % 10], "click", number), is_action=True)
    for example in cluster.examples:
        if example.pool_for:
            drawn[example.pool_for, example.item_id, round(example.pool_probability, 6)] += 1
    draws = {"a": 500, "b": 1000, "c": 3500}
    shares = {"a": 0.1, "b": 0.2, "c": 0.7}
    assert {key[1:] for key in drawn} == set(shares.items())
    for positive, times in draws.items():
        for item_id, share in shares.items():
            found = drawn[positive, item_id, share]
            expected = 0 if item_id == positive else times * share
            assert abs(found - expected) <= 4 * math.sqrt(expected * (1 - share))
