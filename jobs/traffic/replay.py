"""Replays KuaiRand: a log of impressions with their feedback becomes requests and reactions.

Impressions of one user on one tab within 30 s of the first form one request, whose time is that of the
first; an item that is already in the open request starts the next one, so that the log's exact duplicates
are kept and every row is an impression. Feedback has no time of its own in the log: a click happens at
once, everything else when playing ends.

Only what the job's schema names is sent: user, context and item keys without a feature, and actions without
a label, would cost every stage time and change nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.spec import Job
from jobs.traffic.history import History
from jobs.traffic.paths import LOG_COLUMNS, BadPathError, KuaiRandFiles, read_columns
from jobs.traffic.tables import Needs, read_by_id
from jobs.traffic.visits import Reaction, Visit

REQUEST_SPAN_MS = 30_000
HOUR_MS = 3_600_000
UTC_OFFSET_HOURS = 8
"""The users' clock; the owner's own `hourmin` is not the impression's hour."""
FEEDBACK = {
    "is_click": "click",
    "long_view": "long_view",
    "is_like": "like",
    "is_follow": "follow",
    "is_comment": "comment",
    "is_forward": "forward",
    "is_hate": "hate",
    "is_profile_enter": "profile_enter",
}
"""The log's columns and the actions they become."""

Columns = Mapping[str, Sequence[Any]]


def group(
    users: Sequence[int], items: Sequence[int], times_ms: Sequence[int], tabs: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The number of each row's request (int64[n]), for rows in event order; numbers follow event order."""
    numbers = np.empty(len(users), np.int64)
    open_requests: dict[int, tuple[int, int, int, set[int]]] = {}
    count = 0
    for row, (user, item, time_ms, tab) in enumerate(zip(users, items, times_ms, tabs, strict=True)):
        request = open_requests.get(user)
        if (
            request is None
            or time_ms - request[1] > REQUEST_SPAN_MS
            or tab != request[2]
            or item in request[3]
        ):
            request = open_requests[user] = (count, time_ms, tab, set())
            count += 1
        request[3].add(item)
        numbers[row] = request[0]
    return numbers


class KuaiRandVisits:
    """The visits of a KuaiRand log, in event order; iterate as often as you like. Raises BadPathError."""

    def __init__(self, job: Job, files: KuaiRandFiles) -> None:
        self._user, self._context, self._item = (Needs(job, origin) for origin in ("user", "context", "item"))
        users = read_by_id(files.users, "user_id", self._user)
        self._users = {user_id: {"user_id": user_id, **row} for user_id, row in users.items()}
        self._videos = read_by_id(files.videos, "video_id", self._item)
        actions = {action for label in job.schema_.labels.values() for action in label.actions}
        self._feedback = [(column, action) for column, action in FEEDBACK.items() if action in actions]
        self._log = _in_event_order(files)
        self.impressions = len(self._log["time_ms"])
        numbers = group(*(self._log[name] for name in ("user_id", "video_id", "time_ms", "tab")))
        # Rows of one request may stand apart: a stable sort brings them together without losing their order.
        self._rows = np.argsort(numbers, kind="stable").tolist()
        self._ends = np.flatnonzero(np.diff(np.sort(numbers), append=-1)) + 1

    def __iter__(self) -> Iterator[Visit]:
        return History(self._user, self._item).follow(self._visits())

    def _visits(self) -> Iterator[Visit]:
        start = 0
        for number, end in enumerate(self._ends.tolist()):
            yield self._visit(number, self._rows[start:end])
            start = end

    def _visit(self, number: int, rows: Sequence[int]) -> Visit:
        log, first = self._log, rows[0]
        user_id, ts_ms = log["user_id"][first], log["time_ms"][first]
        context = {"tab": log["tab"][first], "hour": (ts_ms // HOUR_MS + UTC_OFFSET_HOURS) % 24}
        return Visit(
            f"r-{number:09d}",
            ts_ms,
            self._users.get(user_id) or {"user_id": user_id},
            self._context.pick(context),
            [self._shown(row) for row in rows],
            [reaction for row in rows for reaction in self._reactions(row)],
        )

    def _shown(self, row: int) -> dict[str, Any]:
        video_id = self._log["video_id"][row]
        seen = {"item_id": video_id, "duration_ms": self._log["duration_ms"][row]}
        return {"item_id": video_id, **self._videos.get(video_id, {}), **self._item.pick(seen)}

    def _reactions(self, row: int) -> Iterator[Reaction]:
        shown_ms, played_ms = self._log["time_ms"][row], self._log["play_time_ms"][row]
        for column, action in self._feedback:
            if self._log[column][row]:
                ts_ms = shown_ms if action == "click" else shown_ms + played_ms
                value = played_ms / 1000 if action == "long_view" else None
                yield Reaction(self._log["video_id"][row], action, ts_ms, ts_ms, value)


def _in_event_order(files: KuaiRandFiles) -> Columns:
    """All rows of all logs by time; rows of equal time stay as they came. Raises BadPathError."""
    parts = [read_columns(path, list(LOG_COLUMNS)) for path in files.logs]
    log = {name: [value for part in parts for value in part[name]] for name in LOG_COLUMNS}
    for name, values in log.items():
        row = next((row for row, value in enumerate(values) if not isinstance(value, int)), None)
        if row is not None:
            raise BadPathError(
                f"traffic.path: row {row + 1} of {files.logs[0]} has {values[row]!r} in column {name}; "
                "it must be a whole number."
            )
    order = np.argsort(np.array(log["time_ms"], np.int64), kind="stable").tolist()
    return {name: [values[row] for row in order] for name, values in log.items()}
