"""Replays a file of ratings: each is a request with one item and the actions `rating` and `like`.

Such a file says what users chose to rate, not what they were shown: a `like` label tells good from bad
among the rated.
"""

from collections.abc import Iterator

import numpy as np

from jobs.spec import Job
from jobs.traffic.paths import BadPathError, RatingsFile, read_columns
from jobs.traffic.visits import Reaction, Visit

LIKE_SHARE = 0.8
"""A rating of at least this share of the file's highest is a `like`."""


class RatingVisits:
    """The visits of a ratings file in event order; iterate as often as you like. Raises BadPathError."""

    def __init__(self, job: Job, file: RatingsFile) -> None:
        columns = read_columns(file.path, list(file.columns))
        table = {ours: columns[theirs] for theirs, ours in file.columns.items()}
        if not table["rating"]:
            raise BadPathError(f"traffic.path: {file.path} has no ratings.")
        if any(value is None for values in table.values() for value in values):
            raise BadPathError(
                f"traffic.path: {file.path} has rows with empty fields; every rating needs all four."
            )
        self._actions = {action for label in job.schema_.labels.values() for action in label.actions}
        self._like_from = LIKE_SHARE * max(table["rating"])
        order = np.argsort(np.array(table["timestamp"]), kind="stable").tolist()
        names = ("user_id", "item_id", "rating", "timestamp")
        self._rows = [tuple(table[name][row] for name in names) for row in order]
        self.impressions = len(self._rows)

    def __iter__(self) -> Iterator[Visit]:
        for number, (user_id, item_id, rating, timestamp_s) in enumerate(self._rows):
            ts_ms = int(timestamp_s * 1000)
            actions = ("rating", "like") if rating >= self._like_from else ("rating",)
            yield Visit(
                f"r-{number:09d}",
                ts_ms,
                {"user_id": user_id},
                {"hour": ts_ms // 3_600_000 % 24},
                [{"item_id": item_id}],
                [
                    Reaction(item_id, action, ts_ms, ts_ms, float(rating) if action == "rating" else None)
                    for action in actions
                    if action in self._actions
                ],
            )
