"""Negatives drawn from recent items, which only the engine in Java has."""

import base64
import random
from collections import deque
from hashlib import blake2b

import pytest

from pipelines.codec import decode
from pipelines.join import state as states
from pipelines.join.logic import Ready, Step
from pipelines.records import float32
from tests.pipelines.join.conftest import NOW_MS, Cluster
from tests.pipelines.join.jvm import FOREVER_MS, as_json, harness

SIZE, DRAWS = 8, 5
LABELS = {"click": {"action": "click", "window_s": 10}, "buy": {"action": "buy", "window_s": 20}}


class JavaAlone:
    """The Java engine by itself: the Python one draws nothing."""

    def __init__(self, job):
        self.job = harness().call("job", settings=job.model_dump_json(by_alias=True))["job"]

    def on_features(self, state, request, arrival, watermark_ms, now_ms):
        return self._event(state, arrival, watermark_ms, now_ms)

    def on_action(self, state, action, arrival, watermark_ms, now_ms):
        return self._event(state, arrival, watermark_ms(), now_ms)

    def on_timer(self, state, timestamp_ms, now_ms):
        return self._call("timer", state, timestamp=timestamp_ms, now=now_ms)

    def pool(self, pieces=()):
        """What the pool holds, the oldest first, and its bytes, once it has taken up others."""
        answer = harness().call("pool", job=self.job, pieces=pieces)
        return answer["items"], answer["pieces"]

    def _event(self, state, arrival, watermark_ms, now_ms):
        times = {"watermark": watermark_ms, "now": now_ms, "read": FOREVER_MS}
        return self._call("event", state, arrival=as_json(arrival), **times)

    def _call(self, name, state, **arguments):
        data = None if state is None else states.encode(state)
        answer = harness().call(name, job=self.job, state=data, **arguments)
        after = None if answer["state"] is None else states.decode(base64.b64decode(answer["state"]))
        output = [
            Ready(base64.b64decode(each["key"]).decode(), decode(base64.b64decode(each["value"])).examples)
            for each in answer["output"]
        ]
        return Step(after, answer.get("timer"), output, answer["counts"])


@pytest.fixture
def make_pool(make_job):
    """`make_pool(labels, …)`: a cluster that draws; what is given goes to the block `pool`."""

    def make(labels=LABELS, **pool):
        joiner = {"pool": {"negatives": DRAWS, "size": SIZE, **pool}}
        return Cluster(make_job(1.0, labels, **joiner), JavaAlone)

    return make


def drawn(examples):
    return [each for each in examples if each.pool_for]


def expected_draws(pool, request_id, item_id):
    """(item, probability) of each draw that counts."""
    draws = []
    for number in range(DRAWS):
        text = f"7\0{request_id}\0{item_id}\0{number}"
        hashed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
        found = pool[hashed % len(pool)]
        if found != item_id:
            draws.append((found, float32(pool.count(found) / len(pool))))
    return draws


def test_draws_are_those_of_the_hash_from_the_items_shown_last(make_pool, features_event, action_event):
    cluster, shown = make_pool(), deque(maxlen=SIZE)
    chance = random.Random(3)
    for number in range(40):
        items = [chance.choice("aabcdé😀") for _ in range(chance.randint(1, 4))]
        cluster.send(features_event(f"r{number}", number, items))
        shown += dict.fromkeys(items)
        before = len(cluster.examples)
        cluster.send(action_event(f"r{number}", items[0], "click", number), is_action=True)
        positive, *more = cluster.examples[before:]
        assert (positive.item_id, positive.pool_for, positive.pool_probability) == (items[0], "", 0.0)
        found = [(each.item_id, each.pool_probability) for each in more]
        assert found == expected_draws(list(shown), f"r{number}", items[0])
    assert cluster.counts["pooled"] == len(drawn(cluster.examples)) > 50
    assert cluster.counts["examples"] == cluster.counts["positives"] + cluster.counts["pooled"]


def test_a_drawn_example_has_the_user_of_the_request_and_the_item_of_another_and_teaches_nothing(
    make_pool, features_event, action_event
):
    cluster = make_pool(negatives=16)
    # What stands in the pool is a part of a text: with every kind of bracket and quote.
    other = {
        "item_id": 'o}]\\"{',
        "price": 2.5,
        "parents": [1, 2],
        "more": {"a": ["}", '"]']},
        "scores": {"x": 1.0},
    }
    cluster.send(features_event("other", 5, [other], user={"country": "at"}))
    cluster.send(features_event("mine", 7, ["m"], user={"country": "de"}, context={"hour": 3}))
    cluster.send(action_event("mine", "m", "click", 9), is_action=True)
    example = drawn(cluster.examples)[0]
    assert example.features == {"country": ["de"], "hour": [3], "price": [2.5], "parents": [1, 2]}
    assert (example.request_id, example.item_id, example.pool_for) == ("mine", 'o}]\\"{', "m")
    assert (example.ts_ms, example.joined_ts_ms) == (7, NOW_MS)
    assert (example.action_ts_ms, example.action_logged_ts_ms) == (0, 0)
    assert example.labels == example.masks == {"click": 0.0, "buy": 0.0}
    assert (example.sampling_rate, example.scores, example.was) == (1.0, {}, {})
    assert example.pool_probability == 0.5


@pytest.mark.parametrize(
    ("labels", "label", "draws"),
    [
        (LABELS, None, True),
        (LABELS, "click", True),
        (LABELS, "buy", False),
        ({"click": {**LABELS["click"], "kind": "number", "take": "last"}}, None, False),
        ({"click": {**LABELS["click"], "window_s": 0.001, "late_s": 5}}, None, False),
    ],
)
def test_only_what_the_label_takes_in_its_window_at_once_gets_draws(
    make_pool, features_event, action_event, labels, label, draws
):
    cluster = make_pool(labels, label=label)
    cluster.send(features_event("r", 0, range(6)))
    cluster.send(action_event("r", 1, "click", 4), is_action=True)
    cluster.finish()
    assert bool(drawn(cluster.examples)) is draws


def test_a_correction_gets_no_draws(make_pool, features_event, action_event):
    cluster = make_pool({"click": {"action": "click", "window_s": 10, "late_s": 10}})
    cluster.send(features_event("r", 0, range(6)))
    cluster.advance(10_000)
    cluster.send(action_event("r", 1, "click", 9_000), is_action=True)
    assert cluster.counts["corrections"] == 1
    assert not drawn(cluster.examples)


def test_an_action_that_came_before_its_request_gets_draws(make_pool, features_event, action_event):
    cluster = make_pool()
    cluster.send(action_event("r", 1, "click", 4), is_action=True)
    cluster.send(features_event("r", 0, range(6)))
    assert drawn(cluster.examples)


def test_long_items_leave_room_for_fewer(make_pool, features_event):
    cluster = make_pool()
    cluster.send(features_event("r", 0, [{"item_id": n, "text": "x" * 3000} for n in range(1)]))
    cluster.send(features_event("s", 0, [{"item_id": n, "text": "x" * 3000} for n in range(1, 2)]))
    cluster.send(features_event("t", 0, [{"item_id": n, "text": "x" * 3000} for n in range(2, 3)]))
    assert cluster.logic.pool()[0] == ["1", "2"]


def test_a_drawn_example_that_fits_into_no_message_is_left_out(make_job, features_event, action_event):
    parts = {"a": "user.a", "b": "user.b", "c": "item.c", "d": "item.d"}
    features = {name: {"from": source, "many": True} for name, source in parts.items()}
    # Each list takes three times its bytes, and each label its name twice.
    long = [-1] * 1000
    job = make_job(1.0, {"x" * 9000: LABELS["click"]}, max_event_bytes=1 << 20, pool={"negatives": 64})
    job = job.model_validate(
        {
            **job.model_dump(by_alias=True),
            "kafka": {"bootstrap": "127.0.0.1:9", "max_message_bytes": 1 << 16},
            "schema": {**job.model_dump(by_alias=True)["schema"], "features": features},
        }
    )
    cluster = Cluster(job, JavaAlone)
    cluster.send(features_event("other", 0, [{"item_id": "long", "c": long, "d": long}, 1, 2]))
    cluster.send(features_event("mine", 0, ["m"], user={"a": long, "b": long}))
    cluster.send(action_event("mine", "m", "click", 4), is_action=True)
    assert {each.item_id for each in drawn(cluster.examples)} == {"1", "2"}


def test_a_restored_pool_is_what_it_was(make_pool, features_event):
    before, after = make_pool(), make_pool()
    before.send(features_event("r", 0, ["a", "é", {"item_id": "c", "price": 1.5}]))
    items, pieces = before.logic.pool()
    assert after.logic.pool(pieces) == (items, pieces)
    assert items == ["a", "é", "c"]


def test_a_large_pool_is_shared_out_in_pieces(make_pool, features_event):
    whole, parts = make_pool(size=1000), [make_pool(size=1000), make_pool(size=1000)]
    for number in range(60):
        whole.send(features_event(f"r{number}", 0, range(number * 10, number * 10 + 10)))
    items, pieces = whole.logic.pool()
    assert len(pieces) == 3
    assert parts[0].logic.pool(pieces[:2])[0] + parts[1].logic.pool(pieces[2:])[0] == items


def test_of_two_pools_that_become_one_the_items_shown_last_stay(make_pool, features_event, monkeypatch):
    old, new, merged = make_pool(), make_pool(), make_pool()
    new.send(features_event("r", 0, [f"new{number}" for number in range(6)]))
    monkeypatch.setattr("tests.pipelines.join.conftest.NOW_MS", NOW_MS - 1)
    old.send(features_event("r", 0, [f"old{number}" for number in range(6)]))
    pieces = [*new.logic.pool()[1], *old.logic.pool()[1]]
    assert merged.logic.pool(pieces)[0] == ["old4", "old5", *(f"new{number}" for number in range(6))]
