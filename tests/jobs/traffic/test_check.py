from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.spec import Job
from jobs.traffic.check import check_path
from jobs.traffic.paths import LOG_COLUMNS, BadPathError


@pytest.fixture
def complain(make_job: Callable[..., Job]) -> Callable[[Path | None], str]:
    """The sentence about a path."""

    def check(path: Path | None) -> str:
        with pytest.raises(BadPathError) as caught:
            check_path(make_job({"kind": "replay", "path": path and str(path)}))
        return str(caught.value)

    return check


def kuairand(directory: Path) -> Path:
    pq.write_table(pa.table({name: [1] for name in LOG_COLUMNS}), directory / "impressions.parquet")
    pq.write_table(pa.table({"user_id": [1]}), directory / "users.parquet")
    pq.write_table(pa.table({"video_id": [1], "author_id": [1]}), directory / "videos.parquet")
    return directory


def test_simulated_traffic_needs_no_path(make_job: Callable[..., Job]) -> None:
    check_path(make_job({"kind": "simulated"}))


def test_a_whole_directory_is_fine(tmp_path: Path, make_job: Callable[..., Job]) -> None:
    check_path(make_job({"kind": "replay", "path": str(kuairand(tmp_path))}))


def test_no_path_is_said(complain: Callable[[Path | None], str]) -> None:
    assert "traffic.path is not set" in complain(None)


def test_a_path_that_is_not_there_is_named(tmp_path: Path, complain: Callable[[Path | None], str]) -> None:
    said = complain(tmp_path / "nowhere")
    assert f"there is no {tmp_path / 'nowhere'}" in said
    assert "impressions.parquet, users.parquet and videos.parquet" in said
    assert "userId,movieId,rating,timestamp" in said


def test_an_empty_directory_is_told_what_belongs_there(
    tmp_path: Path, complain: Callable[[Path | None], str]
) -> None:
    assert "has neither impressions.parquet nor log_standard_*.csv" in complain(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path, complain: Callable[[Path | None], str]) -> None:
    (kuairand(tmp_path) / "videos.parquet").unlink()
    assert "has no videos.parquet or video_features_basic_*.csv" in complain(tmp_path)


def test_missing_columns_are_named(tmp_path: Path, complain: Callable[[Path | None], str]) -> None:
    kuairand(tmp_path)
    pq.write_table(pa.table({"user_id": [1], "video_id": [1]}), tmp_path / "impressions.parquet")
    assert "impressions.parquet has no column time_ms, tab" in complain(tmp_path)


def test_a_garbled_file_is_named(tmp_path: Path, complain: Callable[[Path | None], str]) -> None:
    (kuairand(tmp_path) / "users.parquet").write_bytes(b"garbage" * 10)
    assert f"{tmp_path / 'users.parquet'} can't be read as Parquet" in complain(tmp_path)


def test_text_where_the_schema_reads_numbers_is_named(
    tmp_path: Path, complain: Callable[[Path | None], str]
) -> None:
    pq.write_table(
        pa.table({"video_id": [1], "author_id": ["someone"]}), kuairand(tmp_path) / "videos.parquet"
    )
    assert "column author_id holds 'someone'" in complain(tmp_path)
    assert "`type: string`" in complain(tmp_path)


def test_a_csv_without_ratings_columns_is_told_which_are_missing(
    tmp_path: Path, complain: Callable[[Path | None], str]
) -> None:
    (tmp_path / "films.csv").write_text("userId,title\n1,Metropolis\n")
    assert "has no column for item_id, rating, timestamp" in complain(tmp_path / "films.csv")
