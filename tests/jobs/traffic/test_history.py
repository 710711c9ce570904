from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import Job
from jobs.traffic.history import PRIOR_RATE, PRIOR_SEEN, RECENT, History
from jobs.traffic.tables import Needs
from jobs.traffic.visits import Reaction, Visit

VISITS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 2), st.integers(1, 3), st.none() | st.integers(0, 20)),
    max_size=30,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))
"""(time, user, item, delay of the click if there was one) by time."""


def make_visits(rows: list[tuple[int, int, int, int | None]]) -> list[Visit]:
    visits = []
    for number, (ts, user, item, delay) in enumerate(rows):
        clicks = [] if delay is None else [Reaction(item, "click", ts + delay, ts + delay)]
        shown = {"item_id": item, "author_id": 10 * item, "tag": [item, 99]}
        visits.append(Visit(f"r-{number}", ts, {"user_id": user}, {}, [shown], clicks))
    return visits


@pytest.fixture(scope="module")
def needs() -> tuple[Needs, Needs]:
    features = {
        key.replace(".", "_"): {
            "from": key,
            "many": "recent" in key,
            "type": "float" if "rate" in key else "int",
        }
        for key in (
            *("user.recent_items", "user.recent_authors", "user.recent_tags", "user.seen", "user.click_rate"),
            *("item.seen", "item.click_rate", "item.author_id", "item.tag"),
        )
    }
    job = Job.model_validate(
        {"name": "t", "schema": {"features": features, "labels": {"click": {"action": "click"}}}}
    )
    return Needs(job, "user"), Needs(job, "item")


def rate(clicked: int, seen: int) -> float:
    return (clicked + PRIOR_RATE * PRIOR_SEEN) / (seen + PRIOR_SEEN)


@given(VISITS)
def test_history_is_what_a_look_at_the_whole_log_finds_before_the_request(
    needs: tuple[Needs, Needs], rows: list[tuple[int, int, int, int | None]]
) -> None:
    for number, visit in enumerate(History(*needs).follow(make_visits(rows))):
        ts, user, item, _ = rows[number]
        # Equal times: a click can't be before its own impression, and earlier rows have been shown.
        clicks = sorted(
            (t + delay, n) for n, (t, _, _, delay) in enumerate(rows[:number]) if delay is not None
        )
        before = [rows[n] for at, n in clicks if at < ts]
        mine = [row[2] for row in before if row[1] == user]
        assert visit.user.get("recent_items", []) == mine[::-1][:RECENT]
        assert visit.user.get("recent_authors", []) == [10 * each for each in mine[::-1][:RECENT]]
        assert visit.user.get("recent_tags", []) == mine[::-1][:RECENT]
        seen = sum(row[1] == user for row in rows[:number])
        assert visit.user["seen"] == seen
        assert visit.user["click_rate"] == pytest.approx(rate(len(mine), seen))
        of_item = sum(row[2] == item for row in rows[:number])
        assert visit.items[0]["seen"] == of_item
        assert visit.items[0]["click_rate"] == pytest.approx(
            rate(sum(row[2] == item for row in before), of_item)
        )


def test_a_job_that_asks_for_nothing_gets_the_visits_as_they_are(make_job: Callable[..., Job]) -> None:
    job = make_job({"kind": "none"})
    visits = make_visits([(1, 1, 1, 2), (5, 1, 2, None)])
    assert list(History(Needs(job, "user"), Needs(job, "item")).follow(visits)) == make_visits(
        [(1, 1, 1, 2), (5, 1, 2, None)]
    )
