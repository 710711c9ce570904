"""The rules of the join, one promise at a time. Windows: click_soon 3 s, click 10 s, buy 20 s."""

from pipelines.join.logic import MAX_EARLY_ACTIONS, MAX_EARLY_BYTES
from pipelines.records import float32
from pipelines.settings import JoinJob


def masks(example):
    return {label for label, mask in example.masks.items() if mask}


def test_a_positive_leaves_as_soon_as_its_action_comes(cluster, features_event, action_event):
    cluster.send(features_event(items=[1, 2]))
    assert not cluster.examples
    cluster.send(action_event(item_id=2, ts_ms=2000), is_action=True)
    (example,) = cluster.examples
    assert (example.item_id, example.labels["click"], example.action_ts_ms) == ("2", 1.0, 2000)
    assert masks(example) == {"click", "click_soon"}


def test_an_action_that_came_first_waits_for_its_request(cluster, features_event, action_event):
    cluster.send(action_event(ts_ms=2000), is_action=True)
    assert not cluster.output
    cluster.send(features_event())
    (example,) = cluster.examples
    assert example.labels["click"] == example.masks["click"] == 1.0
    assert example.action_logged_ts_ms == 2000


def test_an_action_counts_only_for_the_labels_whose_window_it_is_in(cluster, features_event, action_event):
    cluster.send(features_event())
    cluster.send(action_event(ts_ms=5000), is_action=True)
    assert masks(cluster.examples[0]) == {"click"}
    cluster.finish()
    assert cluster.resolved == {
        ("r", "1", "click", 1.0): 1,
        ("r", "1", "click_soon", 0.0): 1,
        ("r", "1", "buy", 0.0): 1,
    }


def test_each_window_closes_at_its_own_time(cluster, features_event):
    cluster.send(features_event())
    closed = []
    for second in range(1, 21):
        before = len(cluster.examples)
        cluster.advance(second * 1000)
        closed += [(second, masks(example)) for example in cluster.examples[before:]]
    assert closed == [(3, {"click_soon"}), (10, {"click"}), (20, {"buy"})]


def test_an_action_in_the_last_millisecond_of_its_window_counts(cluster, features_event, action_event):
    cluster.send(features_event())
    cluster.advance(9_999)
    cluster.send(action_event(ts_ms=10_000), is_action=True)
    assert ("r", "1", "click", 1.0) in cluster.resolved


def test_an_action_after_its_window_is_late(cluster, features_event, action_event):
    cluster.send(features_event())
    cluster.send(action_event(ts_ms=10_001), is_action=True)
    cluster.advance(15_000)
    cluster.send(action_event(ts_ms=10_000), is_action=True)
    cluster.advance(25_000)
    cluster.send(action_event(ts_ms=9_000), is_action=True)
    cluster.finish()
    cluster.send(action_event(ts_ms=8_000), is_action=True)
    assert cluster.dead == [("late", 2), ("late", 3), ("late", 4), ("late", 5)]


def test_an_action_without_a_request_is_an_orphan_when_its_window_has_passed(cluster, action_event):
    cluster.send(action_event(ts_ms=1000), is_action=True)
    cluster.send(action_event(action="buy", ts_ms=1000), is_action=True)
    cluster.advance(10_999)
    assert not cluster.dead
    cluster.advance(11_000)
    assert cluster.dead == [("orphan", 1)]
    cluster.finish()
    assert cluster.dead == [("orphan", 1), ("orphan", 2)]
    assert not cluster.state
    assert not cluster.timers


def test_an_action_on_an_item_that_its_request_lacks_is_an_orphan(cluster, features_event, action_event):
    cluster.send(action_event(item_id=8), is_action=True)
    cluster.send(features_event(items=[1, 2]))
    cluster.send(action_event(item_id=9), is_action=True)
    assert cluster.dead == [("orphan", 1), ("orphan", 3)]


def test_an_action_long_before_its_request_is_an_orphan_in_either_order(
    make_cluster, features_event, action_event
):
    first, second = make_cluster(), make_cluster()
    first.send(action_event(ts_ms=0), is_action=True)
    first.send(features_event(ts_ms=10_001))
    second.send(features_event(ts_ms=10_001))
    second.send(action_event(ts_ms=0), is_action=True)
    assert [reason for reason, _ in first.dead] == [reason for reason, _ in second.dead] == ["orphan"]


def test_of_two_early_actions_the_one_near_enough_counts(cluster, features_event, action_event):
    cluster.send(action_event(ts_ms=0), is_action=True)
    cluster.send(action_event(ts_ms=1000), is_action=True)
    cluster.send(features_event(ts_ms=11_000))
    assert cluster.examples[0].action_ts_ms == 1000
    assert cluster.dead == [("orphan", 1)]


def test_an_action_that_no_label_uses_is_counted_and_not_dead(cluster, features_event, action_event):
    cluster.send(action_event(action="share"), is_action=True)
    cluster.send(features_event())
    cluster.send(action_event(action="share"), is_action=True)
    assert not cluster.output
    assert cluster.counts["unused"] == 2


def test_repeated_events_change_nothing(make_cluster, features_event, action_event):
    once, twice = make_cluster(), make_cluster()
    for cluster, times in (once, 1), (twice, 2):
        for _ in range(times):
            cluster.send(action_event(item_id=1, ts_ms=500), is_action=True)
        for _ in range(times):
            cluster.send(features_event(items=[1, 2]))
        for _ in range(times):
            cluster.send(action_event(item_id=2, ts_ms=700), is_action=True)
        cluster.finish()
    assert once.examples == twice.examples
    assert not twice.dead
    assert twice.counts["duplicates"] == 3


def test_a_repeated_action_is_known_after_its_window(cluster, features_event, action_event):
    cluster.send(features_event())
    cluster.send(action_event(ts_ms=500), is_action=True)
    cluster.advance(15_000)
    cluster.send(action_event(ts_ms=500), is_action=True)
    cluster.advance(25_000)
    cluster.send(action_event(ts_ms=500), is_action=True)
    assert not cluster.dead
    assert cluster.counts["duplicates"] == 2


def test_a_repeated_request_is_known_after_its_windows(cluster, features_event):
    cluster.send(features_event())
    cluster.advance(25_000)
    cluster.send(features_event())
    cluster.finish()
    assert not cluster.dead
    assert cluster.counts["impressions"] == 1


def test_a_request_that_comes_after_all_its_windows_is_late(cluster, features_event):
    cluster.advance(20_000)
    cluster.send(features_event(items=[1, 2, 3]))
    assert cluster.dead == [("late", 1)]
    assert not cluster.state
    assert not cluster.counts["impressions"]


def test_a_request_that_comes_after_one_of_its_windows_resolves_it_at_once(
    cluster, features_event, action_event
):
    cluster.send(action_event(ts_ms=9000), is_action=True)
    cluster.advance(12_000)
    cluster.send(features_event(items=[1, 2]))
    cluster.advance(12_001)
    assert cluster.resolved == {
        ("r", "1", "click", 1.0): 1,
        ("r", "1", "click_soon", 0.0): 1,
        ("r", "2", "click", 0.0): 1,
        ("r", "2", "click_soon", 0.0): 1,
    }


def test_of_items_with_the_same_id_the_first_counts(cluster, features_event):
    cluster.send(features_event(items=[{"item_id": 1, "price": 1}, {"item_id": "1", "price": 2}]))
    cluster.finish()
    assert {example.features["price"] for example in cluster.examples} == {1.0}
    assert cluster.counts["impressions"] == cluster.counts["duplicates"] == 1


def test_only_so_many_actions_wait_for_one_request(cluster, action_event):
    for item in range(MAX_EARLY_ACTIONS + 2):
        cluster.send(action_event(item_id=item), is_action=True)
    assert [reason for reason, _ in cluster.dead] == ["orphan"] * 2


def test_only_so_many_bytes_of_actions_wait_for_one_request(make_cluster, action_event):
    cluster = make_cluster(max_event_bytes=1 << 19)
    for item in range(4):
        cluster.send(action_event(item_id=item, note="x" * 500_000), is_action=True)
    assert cluster.dead == [("orphan", 4)]
    assert MAX_EARLY_BYTES < len(cluster.state["r"]) < MAX_EARLY_BYTES + (1 << 19)


def test_nothing_is_kept_of_a_request_for_longer_than_twice_its_longest_window(
    cluster, features_event, action_event
):
    cluster.send(features_event())
    cluster.send(action_event(), is_action=True)
    cluster.advance(39_999)
    assert cluster.state
    cluster.advance(40_000)
    assert not cluster.state
    assert not cluster.timers


def test_sampling_keeps_the_same_share_in_every_run_and_counts_the_rest(make_cluster, features_event):
    first, second = make_cluster(0.25), make_cluster(0.25)
    for cluster in first, second:
        for request in range(200):
            cluster.send(features_event(f"r{request}", items=range(10)))
        cluster.finish()
    assert first.examples == second.examples
    kept = {(example.request_id, example.item_id) for example in first.examples}
    assert len(kept) + first.sampled_away == 2000
    assert 430 < len(kept) < 570
    assert {example.sampling_rate for example in first.examples} == {0.25}


def test_a_positive_is_never_sampled_away_but_its_negatives_are_sampled(
    make_cluster, features_event, action_event
):
    cluster = make_cluster(0.01)
    for request in range(50):
        cluster.send(features_event(f"r{request}", items=range(4)))
        cluster.send(action_event(f"r{request}", item_id=0), is_action=True)
    cluster.finish()
    positives = [example for example in cluster.examples if example.labels["click"] * example.masks["click"]]
    assert len(positives) == 50
    assert all(example.sampling_rate == float32(0.01) for example in positives)
    assert len(cluster.examples) < 60
    items = {(example.request_id, example.item_id) for example in cluster.examples}
    assert len(items) + cluster.sampled_away == 200


def test_a_value_that_has_the_wrong_type_since_the_job_was_changed_is_left_out_and_counted(
    make_cluster, engine, features_event, action_event
):
    cluster = make_cluster()
    items = [{"item_id": n, "price": 2.5, "parents": [1, 2]} for n in range(2)]
    user = {"user_id": 7, "country": "de", "tags": ["a", "b"]}
    cluster.send(features_event(items=items, user=user, context={"hour": 3}))
    changed = cluster.job.model_dump(by_alias=True)
    features = changed["schema"]["features"]
    features["price"]["type"] = "string"
    features["tags"]["type"] = "int"
    features["parents"]["many"] = False
    features["hour"]["type"] = "float"
    cluster.logic = engine(JoinJob.model_validate(changed))
    cluster.send(action_event(), is_action=True)
    assert cluster.examples[0].features == {"user_id": 7, "country": "de", "hour": 3.0}
    assert cluster.counts["left_out"] == 3
    cluster.finish()
    assert cluster.counts["left_out"] == 3 * len(cluster.examples)


def test_what_waits_when_windows_grow_leaves_and_is_forgotten_by_the_longer_ones(
    make_cluster, engine, features_event
):
    cluster = make_cluster(1.0, {"click": {"action": "click", "window_s": 10}})
    cluster.send(features_event("old"))
    cluster.advance(10_000)
    cluster.send(features_event("new", 10_000))
    changed = cluster.job.model_dump(by_alias=True)
    changed["schema"]["labels"]["click"]["window_s"] = 30.0
    cluster.logic = engine(JoinJob.model_validate(changed))
    cluster.advance(39_999)
    assert [each.request_id for each in cluster.examples] == ["old"]
    cluster.advance(40_000)
    assert [each.request_id for each in cluster.examples] == ["old", "new"]
    assert set(cluster.state) == {"old", "new"}
    cluster.finish()
    assert not cluster.state
