from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.spec import Job
from jobs.traffic.paths import RatingsFile, find_files
from jobs.traffic.ratings import RatingVisits


@pytest.fixture
def make_ratings_job(make_job: Callable[..., Job]) -> Callable[[Path], Job]:
    def make(path: Path) -> Job:
        job = make_job({"kind": "replay", "path": str(path)})
        labels = {"liked": {"action": "like"}, "rated": {"action": "rating"}}
        schema = {**job.schema_.model_dump(by_alias=True), "labels": labels}
        return Job.model_validate({**job.model_dump(by_alias=True), "schema": schema})

    return make


def visits_of(job: Job) -> RatingVisits:
    files = find_files(job.traffic.path)
    assert isinstance(files, RatingsFile)
    return RatingVisits(job, files)


def test_movielens_ratings_come_in_event_order(
    tmp_path: Path, make_ratings_job: Callable[[Path], Job]
) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(
        "userId,movieId,rating,timestamp\n7,1,4.0,964982703\n7,2,3.5,964981247\n8,1,5.0,964981247\n"
    )
    visits = list(visits_of(make_ratings_job(path)))
    assert [(visit.ts, visit.user["user_id"], visit.items) for visit in visits] == [
        (964_981_247_000, 7, [{"item_id": 2}]),
        (964_981_247_000, 8, [{"item_id": 1}]),
        (964_982_703_000, 7, [{"item_id": 1}]),
    ]
    assert [[(each.action, each.value) for each in visit.reactions] for visit in visits] == [
        [("rating", 3.5)],
        [("rating", 5.0), ("like", None)],
        [("rating", 4.0), ("like", None)],
    ]


def test_movietweetings_ratings_have_other_column_names(
    tmp_path: Path, make_ratings_job: Callable[[Path], Job]
) -> None:
    columns = {"user_id": [1, 2], "movie_id": [5, 6], "rating": [10, 7], "rating_timestamp": [200, 100]}
    pq.write_table(pa.table(columns), tmp_path / "ratings.parquet")
    visits = visits_of(make_ratings_job(tmp_path))
    assert visits.impressions == 2
    assert [(visit.ts, visit.items[0]["item_id"]) for visit in visits] == [(100_000, 6), (200_000, 5)]
