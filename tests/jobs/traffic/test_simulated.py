import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import Job
from jobs.traffic.simulated import SimulatedVisits, World
from model.quality import auc

START_MS = 1_764_000_000_000
WORLD = World(seed=1, users=200, items=100)


def job_with(**traffic: object) -> Job:
    schema = {
        "features": {"user_id": {"from": "user.user_id"}},
        "labels": {"tap": {"action": "click"}, "heart": {"action": "like"}},
    }
    return Job.model_validate({"name": "t", "schema": schema, "traffic": {"kind": "simulated", **traffic}})


@given(st.integers(1, 200), st.lists(st.integers(0, 99), min_size=1), st.integers(0, 10**6))
def test_the_world_is_a_function_of_seed_id_and_time(user: int, places: list[int], later_s: int) -> None:
    ts_ms = START_MS + later_s * 1000
    again = World(seed=1, users=200, items=100)
    items = WORLD.holders(np.array(places), ts_ms)
    assert again.holders(np.array(places), ts_ms) == items
    assert again.user(user).features == WORLD.user(user).features
    np.testing.assert_array_equal(
        again.probabilities(user, items, ts_ms), WORLD.probabilities(user, items, ts_ms)
    )


def test_another_seed_is_another_world() -> None:
    other = World(seed=2, users=200, items=100)
    items = WORLD.holders(np.arange(10), START_MS)
    assert not np.allclose(other.probabilities(1, items, START_MS), WORLD.probabilities(1, items, START_MS))


def test_items_vanish_for_good_and_new_ones_appear() -> None:
    seen = [set(WORLD.holders(np.arange(100), START_MS + minute * 60_000)) for minute in range(60)]
    assert all(len(items) == 100 for items in seen)
    assert seen[0].isdisjoint(seen[-1])
    assert any(len(before & after) > 80 for before, after in itertools.pairwise(seen))
    for item in seen[0]:
        there = [item in items for items in seen]
        assert there == sorted(there, reverse=True)


def test_tastes_drift() -> None:
    items = WORLD.holders(np.arange(100), START_MS)
    at = [WORLD.probabilities(7, items, START_MS + minute * 60_000) for minute in (0, 1, 5)]
    assert np.corrcoef(at[0], at[1])[0, 1] > 0.9
    assert np.corrcoef(at[0], at[2])[0, 1] < 0.8


def test_the_same_start_gives_the_same_visits() -> None:
    feeds = [SimulatedVisits(job_with(), START_MS) for _ in range(2)]
    first, second = ([visit.encode({}) for visit in itertools.islice(feed, 50)] for feed in feeds)
    assert first == second


def test_a_later_start_does_not_repeat_request_ids() -> None:
    feeds = [SimulatedVisits(job_with(), START_MS + offset) for offset in (0, 1)]
    first, second = ({visit.request_id for visit in itertools.islice(feed, 50)} for feed in feeds)
    assert first.isdisjoint(second)


@pytest.fixture(scope="module")
def visits() -> list:
    return list(itertools.islice(SimulatedVisits(job_with(), START_MS), 4000))


def test_visits_come_at_the_asked_rate_with_different_candidates(visits: list) -> None:
    assert 4000 / 50 * 0.9 < (visits[-1].ts - START_MS) / 1000 < 4000 / 50 * 1.1
    assert all(len({item["item_id"] for item in visit.items}) == 8 for visit in visits)


def test_the_best_possible_auc_is_between_080_and_087(visits: list) -> None:
    clicked = [
        item["item_id"] in {reaction.item_id for reaction in visit.reactions}
        for visit in visits
        for item in visit.items
    ]
    best = [item["scores"]["tap@best"] for visit in visits for item in visit.items]
    labels = np.array(clicked, float)
    area = auc(labels, np.array(best), np.ones(len(labels)))
    assert area is not None
    assert 0.80 < area < 0.87
    assert abs(np.mean(best) - labels.mean()) < 0.02


def test_the_best_score_is_written_only_for_labels_of_clicks_and_never_asked(visits: list) -> None:
    assert list(visits[0].items[0]["scores"]) == ["tap@best"]
    assert b"best" not in visits[0].question()


def test_reactions_follow_their_request_out_of_order_and_mostly_within_the_window(visits: list) -> None:
    reactions = [(visit.ts, reaction) for visit in visits for reaction in visit.reactions]
    assert all(ts < reaction.ts <= reaction.due for ts, reaction in reactions)
    clicks = [reaction.ts - ts for ts, reaction in reactions if reaction.action == "click"]
    assert 1700 < np.mean(clicks) < 2300
    assert np.mean(np.array(clicks) < 10_000) > 0.99
    logged = sorted((reaction for _, reaction in reactions), key=lambda reaction: reaction.due)
    assert any(before.ts > after.ts for before, after in itertools.pairwise(logged))


def test_likes_follow_clicks(visits: list) -> None:
    for visit in visits:
        clicks = {each.item_id: each.ts for each in visit.reactions if each.action == "click"}
        likes = [each for each in visit.reactions if each.action == "like"]
        assert all(like.ts > clicks[like.item_id] for like in likes)


def test_more_candidates_than_items_shows_all_items() -> None:
    feed = SimulatedVisits(job_with(items=3, candidates=8), START_MS)
    assert [len(visit.items) for visit in itertools.islice(feed, 3)] == [3, 3, 3]
