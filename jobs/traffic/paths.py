"""Finds the files of a replay, or says in one sentence what is wrong with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

KUAIRAND_HELP = (
    "a KuaiRand directory has impressions.parquet, users.parquet and videos.parquet, or the owner's "
    "log_standard_*.csv, user_features_*.csv and video_features_basic_*.csv"
)
RATINGS_HELP = (
    "a ratings file is CSV with the header userId,movieId,rating,timestamp, "
    "or MovieTweetings' ratings.parquet"
)

LOG_COLUMNS = (
    *("user_id", "video_id", "time_ms", "tab", "duration_ms", "play_time_ms"),
    *(
        "is_click",
        "is_like",
        "is_follow",
        "is_comment",
        "is_forward",
        "is_hate",
        "long_view",
        "is_profile_enter",
    ),
)
RATING_COLUMNS = {
    "userId": "user_id",
    "movieId": "item_id",
    "user_id": "user_id",
    "movie_id": "item_id",
    "rating": "rating",
    "timestamp": "timestamp",
    "rating_timestamp": "timestamp",
}
"""The two spellings of the columns of a ratings file, and ours."""


class BadPathError(ValueError):
    """`traffic.path` can't be replayed; the message is a sentence that says what would be right."""


@dataclass(frozen=True)
class KuaiRandFiles:
    """The files of a KuaiRand directory; several logs are replayed as one."""

    logs: tuple[Path, ...]
    users: Path
    videos: Path


@dataclass(frozen=True)
class RatingsFile:
    """One file of ratings, and which of its columns is which of ours."""

    path: Path
    columns: dict[str, str]


def find_files(path: str | None) -> KuaiRandFiles | RatingsFile:
    """The files behind `traffic.path`; raises BadPathError."""
    if not path:
        raise BadPathError(f"traffic.path is not set: name what to replay; {KUAIRAND_HELP}; {RATINGS_HELP}.")
    place = Path(path).expanduser()
    if not place.exists():
        raise BadPathError(f"traffic.path: there is no {place}; {KUAIRAND_HELP}; {RATINGS_HELP}.")
    return _find_kuairand(place) if place.is_dir() else _find_ratings(place)


def _find_kuairand(directory: Path) -> KuaiRandFiles | RatingsFile:
    ratings = [directory / name for name in ("ratings.csv", "ratings.parquet") if (directory / name).exists()]
    if ratings:
        return _find_ratings(ratings[0])
    # The owner's archive keeps its files one level down.
    for place in (directory, directory / "data"):
        logs = _glob(place, "impressions*.parquet") or _glob(place, "log_standard_*.csv")
        if logs:
            users = _one(place, ("users.parquet", "user_features_*.csv"))
            videos = _one(place, ("videos.parquet", "video_features_basic_*.csv"))
            for log in logs:
                _require(log, LOG_COLUMNS)
            _require(users, ("user_id",))
            _require(videos, ("video_id",))
            return KuaiRandFiles(logs, users, videos)
    raise BadPathError(
        f"traffic.path: {directory} has neither impressions.parquet nor log_standard_*.csv; {KUAIRAND_HELP}."
    )


def _glob(directory: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(directory.glob(pattern)))


def _one(directory: Path, patterns: tuple[str, ...]) -> Path:
    found = [path for pattern in patterns for path in _glob(directory, pattern)]
    if not found:
        raise BadPathError(f"traffic.path: {directory} has no {' or '.join(patterns)}; {KUAIRAND_HELP}.")
    return found[0]


def _find_ratings(path: Path) -> RatingsFile:
    columns = {theirs: ours for theirs in column_names(path) if (ours := RATING_COLUMNS.get(theirs))}
    missing = [name for name in ("user_id", "item_id", "rating", "timestamp") if name not in columns.values()]
    if missing:
        raise BadPathError(f"traffic.path: {path} has no column for {', '.join(missing)}; {RATINGS_HELP}.")
    return RatingsFile(path, columns)


def _require(path: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in column_names(path)]
    if missing:
        raise BadPathError(f"traffic.path: {path} has no column {', '.join(missing)}; {KUAIRAND_HELP}.")


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet or CSV file; raises BadPathError when it can't be read as such."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            return list(pyarrow.parquet.read_schema(path).names)
        with pyarrow.csv.open_csv(path) as reader:
            return list(reader.schema.names)
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise BadPathError(f"traffic.path: {path} can't be read as {kind}: {error}.") from error


def read_columns(path: Path, names: list[str] | None = None) -> dict[str, list[Any]]:
    """The named columns (None: all) of a Parquet or CSV file, as lists; raises BadPathError."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path, columns=names)
        else:
            options = pyarrow.csv.ConvertOptions(include_columns=names, strings_can_be_null=True)
            table = pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise BadPathError(f"traffic.path: {path} can't be read: {error}.") from error
    return {name: table.column(name).to_pylist() for name in table.column_names}
