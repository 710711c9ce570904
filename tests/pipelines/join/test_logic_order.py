"""Any order of arrival that the watermark allows gives what a join over the whole log gives."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

WINDOWS_MS = {"click": ("click", 10_000), "click_soon": ("click", 3_000), "buy": ("buy", 20_000)}
TIMES_MS = st.integers(0, 40).map(lambda second: second * 1000)
REQUESTS = st.dictionaries(
    st.sampled_from("abc"), st.tuples(TIMES_MS, st.lists(st.integers(0, 3), min_size=1, max_size=4))
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.integers(0, 4), st.sampled_from(["click", "buy", "share"]), TIMES_MS
    ),
    max_size=12,
)


def resolve(requests, actions):
    """The join over the whole log: (request, item, label) -> 1 if an action was near enough, else 0."""
    return Counter(
        (
            request,
            str(item),
            label,
            float(
                any(
                    (request, item, action) == done[:3] and abs(done[3] - ts_ms) <= window_ms
                    for done in actions
                )
            ),
        )
        for request, (ts_ms, items) in requests.items()
        for item in set(items)
        for label, (action, window_ms) in WINDOWS_MS.items()
    )


@st.composite
def logs(draw):
    """Requests, actions, and all of them in an order of arrival, some twice."""
    requests, actions = draw(REQUESTS), draw(ACTIONS)
    events = [(ts_ms, False, (request, ts_ms, items)) for request, (ts_ms, items) in requests.items()]
    events += [(action[3], True, action) for action in actions]
    repeated = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    return requests, actions, draw(st.permutations(events + repeated))


def run(cluster, arrivals, pauses, features_event, action_event):
    """Feeds the events; where `pauses` says so, the watermark goes as far as what is still to come allows."""
    for place, (_, is_action, event) in enumerate(arrivals):
        make = action_event if is_action else features_event
        cluster.send(make(*event), is_action=is_action)
        if pauses[place % len(pauses)]:
            coming = [ts_ms for ts_ms, _, _ in arrivals[place + 1 :]]
            cluster.advance(min(coming, default=0) - 1)
    cluster.finish()


@settings(max_examples=300, deadline=None)
@given(log=logs(), pauses=st.lists(st.booleans(), min_size=1, max_size=5))
def test_every_order_of_arrival_resolves_each_label_once_and_alike(
    log, pauses, make_cluster, features_event, action_event
):
    requests, actions, arrivals = log
    cluster = make_cluster(1.0)
    run(cluster, arrivals, pauses, features_event, action_event)
    assert cluster.resolved == resolve(requests, actions)
    assert not cluster.state
    assert not cluster.timers


@settings(max_examples=200, deadline=None)
@given(log=logs(), pauses=st.lists(st.booleans(), min_size=1, max_size=5), rate=st.sampled_from([0.3, 0.7]))
def test_the_accounts_close_for_every_order_of_arrival(
    log, pauses, rate, make_cluster, features_event, action_event
):
    requests, _, arrivals = log
    cluster = make_cluster(rate)
    run(cluster, arrivals, pauses, features_event, action_event)
    out = {(example.request_id, example.item_id) for example in cluster.examples}
    impressions = sum(len(set(items)) for _, items in requests.values())
    assert len(out) + cluster.sampled_away == impressions == cluster.counts["impressions"]


@settings(max_examples=200, deadline=None)
@given(log=logs(), pauses=st.lists(st.booleans(), min_size=1, max_size=5), jump_ms=TIMES_MS)
def test_events_behind_the_watermark_break_no_account(
    log, pauses, jump_ms, make_cluster, features_event, action_event
):
    _, _, arrivals = log
    cluster = make_cluster(0.5)
    cluster.advance(jump_ms)
    run(cluster, arrivals, pauses, features_event, action_event)
    assert all(number == 1 for number in cluster.resolved.values())
    out = {(example.request_id, example.item_id) for example in cluster.examples}
    assert len(out) + cluster.sampled_away == cluster.counts["impressions"]
    assert not cluster.state


@settings(max_examples=200, deadline=None)
@given(log=logs(), pauses=st.lists(st.booleans(), min_size=1, max_size=5))
def test_every_action_has_exactly_one_fate(log, pauses, make_cluster, features_event, action_event):
    _, _, arrivals = log
    cluster, without_actions = make_cluster(1.0), make_cluster(1.0)
    run(cluster, arrivals, pauses, features_event, action_event)
    requests = [event for event in arrivals if not event[1]]
    run(without_actions, requests, pauses, features_event, action_event)
    fates = cluster.counts - without_actions.counts
    total = sum(fates[name] for name in ("positives", "duplicates", "late", "orphans", "unused"))
    assert total == len(arrivals) - len(requests)
