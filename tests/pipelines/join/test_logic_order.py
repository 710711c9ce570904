"""Any order of arrival that the watermark allows gives what a join over the whole log gives."""

from collections import Counter

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.join.logic import Ready
from pipelines.records import decode_action, parse_request
from tests.pipelines.join.reference import join, resolutions

LABELS = {
    "soon": {"action": "click", "window_s": 3},
    "click": {"action": "click", "window_s": 8, "late_s": 7},
    "liked": {"action": ["click", "buy"], "window_s": 8, "when": "value >= 2.0 * item.weight"},
    "buy": {"action": "buy", "window_s": 12, "late_s": 4, "when": "action == 'buy' && delay_s < 14.0"},
    "spent": {"action": "buy", "kind": "number", "window_s": 5, "late_s": 11, "value": "value / item.weight"},
    "rating": {"action": "click", "kind": "number", "take": "last", "window_s": 9, "otherwise": None},
    "most": {"action": "buy", "kind": "number", "take": "max", "window_s": 8, "otherwise": 0.1},
    "gift": {"action": "buy", "kind": "number", "window_s": 3, "late_s": 5, "otherwise": None},
}
NEGATIVES = [
    {},
    {"rate": 0.5},
    {"by": {"user.vip": {"true": 0.3}, "item.weight": {"1": 0.2, "3": 0.9}}, "rate": 0.6},
    {"max_per_request": 1},
    {"by": {"item.weight": {"1": 0.2}}, "rate": 0.7, "max_per_request": 2},
]
SILENT = st.just({"rating", "gift"})
NAMES = st.sampled_from([False, False, False, True]).flatmap(
    lambda is_silent: SILENT if is_silent else st.sets(st.sampled_from(list(LABELS)), min_size=3)
)
LABEL_SETS = NAMES.map(lambda names: {name: LABELS[name] for name in LABELS if name in names})
TIMES_MS = st.integers(0, 24).map(lambda second: second * 1000)
ITEMS = st.builds(
    lambda item_id, weight: {"item_id": item_id} | ({} if weight is None else {"weight": weight}),
    st.integers(0, 2),
    st.sampled_from([1, 1, 2, 3, 0, None]),
)
REQUESTS = st.dictionaries(
    st.sampled_from("ab"),
    st.tuples(TIMES_MS, st.lists(ITEMS, min_size=1, max_size=4), st.sampled_from([True, "at", 1.5])),
    min_size=1,
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from("aaaabc"),
        st.sampled_from([0, 0, 0, 1, 2, 3]),
        st.sampled_from(["click", "buy", "buy", "share"]),
        TIMES_MS,
        st.sampled_from([-1, 0, 2, 5.1]),
    ),
    min_size=4,
    max_size=12,
)


def as_bytes(request_id, ts_ms, items, vip):
    event = {"request_id": request_id, "ts": ts_ms, "user": {"vip": vip}, "context": {}}
    return orjson.dumps(event | {"items": items})


@st.composite
def logs(draw, actions=ACTIONS):
    """(event time, is it an action, bytes) of requests and actions in an order of arrival, some twice."""
    events = [(each[0], False, as_bytes(name, *each)) for name, each in draw(REQUESTS).items()]
    for request_id, item_id, action, ts_ms, value in draw(actions):
        event = {"request_id": request_id, "item_id": item_id, "action": action, "ts": ts_ms, "value": value}
        events.append((ts_ms, True, orjson.dumps(event)))
    repeated = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    return draw(st.permutations(events + repeated))


PAUSES = st.lists(st.booleans(), min_size=1, max_size=5)


def run(cluster, arrivals, pauses):
    """Feeds the events; where `pauses` says so, the watermark goes as far as what is still to come allows."""
    for place, (_, is_action, value) in enumerate(arrivals):
        cluster.send(value, is_action=is_action)
        if pauses[place % len(pauses)]:
            coming = [ts_ms for ts_ms, _, _ in arrivals[place + 1 :]]
            cluster.advance(min(coming, default=0) - 1)
    cluster.finish()


def events(arrivals):
    """The requests and the actions of a log, each in their order."""
    requests = [parse_request(value) for _, is_action, value in arrivals if not is_action]
    return requests, [decode_action(value) for _, is_action, value in arrivals if is_action]


def never_left(cluster):
    """By request, how many items were sampled away, and how many have no label."""
    sampled_away, unlabelled = Counter(), Counter()
    for ready in (each for each in cluster.output if isinstance(each, Ready)):
        sampled_away[ready.request_id] += ready.sampled_away
        unlabelled[ready.request_id] += ready.unlabelled
    return +sampled_away, +unlabelled


@settings(max_examples=300, deadline=None)
@given(log=logs(), pauses=PAUSES, labels=LABEL_SETS, negatives=st.sampled_from(NEGATIVES))
def test_every_order_of_arrival_teaches_what_the_whole_log_says(log, pauses, labels, negatives, make_cluster):
    cluster = make_cluster(1.0, labels, negatives=negatives)
    run(cluster, log, pauses)
    expected = join(cluster.job, *events(log))
    assert resolutions(cluster.job, cluster.examples) == expected.resolutions
    assert never_left(cluster) == (expected.sampled_away, expected.unlabelled)
    assert not cluster.state
    assert not cluster.timers


@settings(max_examples=100, deadline=None)
@given(log=logs(), pauses=PAUSES, jump_ms=TIMES_MS, labels=LABEL_SETS, negatives=st.sampled_from(NEGATIVES))
def test_events_behind_the_watermark_break_no_account(log, pauses, jump_ms, labels, negatives, make_cluster):
    cluster = make_cluster(1.0, labels, negatives=negatives)
    cluster.advance(jump_ms)
    run(cluster, log, pauses)
    taught = {}
    for request_id, item_id, label, value, was, _, _ in resolutions(cluster.job, cluster.examples).elements():
        place = (request_id, item_id, label, was is not None)
        assert place not in taught
        taught[place] = value
        assert was is None or taught[request_id, item_id, label, False] == was
    out = {(example.request_id, example.item_id) for example in cluster.examples}
    never = sum(counter.total() for counter in never_left(cluster))
    assert len(out) + never == cluster.counts["impressions"]
    assert not cluster.state


@settings(max_examples=100, deadline=None)
@given(log=logs(), pauses=PAUSES)
def test_every_action_has_exactly_one_fate(log, pauses, make_cluster):
    cluster, without_actions = make_cluster(), make_cluster()
    run(cluster, log, pauses)
    requests = [event for event in log if not event[1]]
    run(without_actions, requests, pauses)
    fates = cluster.counts - without_actions.counts
    total = sum(fates[name] for name in ("positives", "duplicates", "late", "orphans", "unused"))
    assert total == len(log) - len(requests)
