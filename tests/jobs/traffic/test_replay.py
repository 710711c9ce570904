from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import Job
from jobs.traffic.paths import LOG_COLUMNS, find_files
from jobs.traffic.replay import REQUEST_SPAN_MS, KuaiRandVisits, group
from jobs.traffic.visits import Visit

ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(0, 100_000), st.integers(0, 1)), max_size=40
).map(lambda rows: sorted(rows, key=lambda row: row[2]))
"""(user, item, time_ms, tab) by time."""

USERS = {
    "user_id": [1, 2, 3],
    "user_active_degree": ["full_active", "UNKNOWN", None],
    "onehot_feat4": [5, None, 7],
}
VIDEOS = {"video_id": [1, 2, 3, 4], "author_id": [10, 20, None, 40], "tag": ["7", "1,2", None, "3"]}


def log_of(rows: list[tuple[int, int, int, int]], **feedback: list[int]) -> dict[str, list[int]]:
    columns = {name: [0] * len(rows) for name in LOG_COLUMNS}
    for name, values in zip(("user_id", "video_id", "time_ms", "tab"), zip(*rows, strict=True), strict=False):
        columns[name] = list(values)
    return {**columns, **feedback}


def write(directory: Path, rows: list[tuple[int, int, int, int]], **feedback: list[int]) -> Path:
    directory.mkdir(exist_ok=True)
    tables = {"impressions": log_of(rows, **feedback), "users": USERS, "videos": VIDEOS}
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), directory / f"{name}.parquet")
    return directory


def visits_of(job: Job) -> list[Visit]:
    files = find_files(job.traffic.path)
    return list(KuaiRandVisits(job, files))  # type: ignore[arg-type]


@pytest.fixture
def kuairand_job(make_job: Callable[..., Job]) -> Callable[[Path], Job]:
    return lambda path: make_job({"kind": "replay", "path": str(path)})


@given(ROWS)
def test_every_row_is_in_one_request_of_its_user_tab_and_half_minute(
    rows: list[tuple[int, int, int, int]],
) -> None:
    numbers = group(*([row[column] for row in rows] for column in range(4)))
    requests: dict[int, list[tuple[int, int, int, int]]] = {}
    for number, row in zip(numbers.tolist(), rows, strict=True):
        requests.setdefault(number, []).append(row)
    assert sorted(requests) == list(range(len(requests)))
    for members in requests.values():
        assert len({(user, tab) for user, _, _, tab in members}) == 1
        assert len({item for _, item, _, _ in members}) == len(members)
        assert members[-1][2] - members[0][2] <= REQUEST_SPAN_MS
    starts = [requests[number][0][2] for number in sorted(requests)]
    assert starts == sorted(starts)


def test_an_item_shown_again_starts_the_next_request() -> None:
    assert group([1, 1, 1], [5, 5, 6], [0, 0, 10], [0, 0, 0]).tolist() == [0, 1, 1]


def test_a_change_of_tab_starts_the_next_request() -> None:
    assert group([1, 1, 1], [5, 6, 7], [0, 1, 2], [0, 1, 1]).tolist() == [0, 1, 1]


def test_a_request_ends_half_a_minute_after_it_began() -> None:
    assert group([1, 1, 1], [5, 6, 7], [0, 30_000, 30_001], [0, 0, 0]).tolist() == [0, 0, 1]


def test_requests_of_two_users_may_overlap(tmp_path: Path, kuairand_job: Callable[[Path], Job]) -> None:
    rows = [(1, 1, 1000, 0), (2, 2, 2000, 0), (1, 2, 3000, 0)]
    visits = visits_of(kuairand_job(write(tmp_path, rows)))
    assert [(visit.ts, [item["item_id"] for item in visit.items]) for visit in visits] == [
        (1000, [1, 2]),
        (2000, [2]),
    ]


def test_a_visit_has_what_the_schema_names_and_no_nulls(
    tmp_path: Path, kuairand_job: Callable[[Path], Job]
) -> None:
    first, second = visits_of(kuairand_job(write(tmp_path, [(1, 2, 1000, 4), (2, 3, 2000, 0)])))
    assert (first.user, first.context) == ({"user_id": 1}, {"tab": 4})
    assert first.items == [{"item_id": 2, "author_id": 20, "tag": [1, 2]}]
    assert second.items == [{"item_id": 3}]


def test_clicks_come_at_once_and_long_views_when_playing_ends(
    tmp_path: Path, kuairand_job: Callable[[Path], Job]
) -> None:
    path = write(tmp_path, [(1, 2, 1000, 0)], is_click=[1], long_view=[1], is_like=[1], play_time_ms=[20_500])
    (visit,) = visits_of(kuairand_job(path))
    # No label of the job is made of likes.
    assert [(each.action, each.ts, each.value) for each in visit.reactions] == [
        ("click", 1000, None),
        ("long_view", 21_500, 20.5),
    ]


def test_the_owners_csv_files_give_the_same_visits(
    tmp_path: Path, kuairand_job: Callable[[Path], Job]
) -> None:
    rows = [(1, 2, 1000, 4), (2, 3, 2000, 0), (1, 2, 1500, 4)]
    parquet = visits_of(kuairand_job(write(tmp_path / "parquet", rows, is_click=[1, 0, 0])))
    data = tmp_path / "csv" / "data"
    data.mkdir(parents=True)
    log = log_of(rows, is_click=[1, 0, 0])
    for part, chosen in (("1", [0, 2]), ("2", [1])):
        table = pa.table({name: [values[row] for row in chosen] for name, values in log.items()})
        pyarrow.csv.write_csv(table, data / f"log_standard_4_0{part}_pure.csv")
    pyarrow.csv.write_csv(pa.table(USERS), data / "user_features_pure.csv")
    pyarrow.csv.write_csv(pa.table(VIDEOS), data / "video_features_basic_pure.csv")
    assert visits_of(kuairand_job(tmp_path / "csv")) == parquet


def test_replaying_twice_gives_the_same_request_ids(
    tmp_path: Path, kuairand_job: Callable[[Path], Job]
) -> None:
    job = kuairand_job(write(tmp_path, [(1, 2, 1000, 4), (2, 3, 2000, 0)]))
    assert visits_of(job) == visits_of(job)
