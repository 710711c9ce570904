"""What had happened before a request: features from the log itself, as of the time of the request.

A job that names one of these keys in a feature gets it in a replay (`from: user.recent_items`):

| key | value |
|---|---|
| `user.recent_items` | the items that the user clicked last, newest first, at most 10 |
| `user.recent_authors`, `user.recent_tags` | their authors, and the first tag of each, where known |
| `user.seen`, `user.click_rate` | impressions of the user, and the share of them that was clicked |
| `item.seen`, `item.click_rate` | the same for the item, over all users |

The share starts from `PRIOR_RATE`, as if `PRIOR_SEEN` impressions had been seen. A click counts from after
its time on, an impression from after its request. Authors and tags are there when the job also names them
of items; clicks, when one of its labels is made of them.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jobs.traffic.tables import Needs
from jobs.traffic.visits import Visit

RECENT = 10
PRIOR_RATE, PRIOR_SEEN = 0.4, 5.0
USER_KEYS = frozenset({"recent_items", "recent_authors", "recent_tags", "seen", "click_rate"})
ITEM_KEYS = frozenset({"seen", "click_rate"})


@dataclass(slots=True)
class Past:
    """What a user, or all users with one item, have done so far."""

    seen: int = 0
    clicked: int = 0
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECENT))
    """The clicked items, newest first."""

    def features(self) -> dict[str, Any]:
        """Every key that can be asked for; lists without values are left out."""
        tags = [item["tag"][0] for item in self.recent if item.get("tag")]
        lists = {
            "recent_items": [item["item_id"] for item in self.recent],
            "recent_authors": [item["author_id"] for item in self.recent if "author_id" in item],
            "recent_tags": tags,
        }
        rate = (self.clicked + PRIOR_RATE * PRIOR_SEEN) / (self.seen + PRIOR_SEEN)
        return {
            **{key: values for key, values in lists.items() if values},
            "seen": self.seen,
            "click_rate": rate,
        }


class History:
    """Adds the past to visits that come in event order."""

    def __init__(self, user: Needs, item: Needs) -> None:
        self._user_keys, self._item_keys = USER_KEYS & user.keys, ITEM_KEYS & item.keys
        self._users: defaultdict[Any, Past] = defaultdict(Past)
        self._items: defaultdict[Any, Past] = defaultdict(Past)
        self._clicks: list[tuple[int, int, Any, dict[str, Any]]] = []
        self._count = 0

    def follow(self, visits: Iterable[Visit]) -> Iterator[Visit]:
        """The same visits, each with what had happened before it, as far as the job asks for it."""
        if not (self._user_keys or self._item_keys):
            yield from visits
            return
        for visit in visits:
            self._catch_up(visit.ts)
            shown = self._with_past(visit)
            self._note(visit)
            yield shown

    def _catch_up(self, ts_ms: int) -> None:
        while self._clicks and self._clicks[0][0] < ts_ms:
            _, _, user_id, item = heapq.heappop(self._clicks)
            self._users[user_id].clicked += 1
            self._users[user_id].recent.appendleft(item)
            self._items[item["item_id"]].clicked += 1

    def _with_past(self, visit: Visit) -> Visit:
        user = self._users[visit.user["user_id"]].features() if self._user_keys else {}
        visit.user = {**visit.user, **{key: user[key] for key in self._user_keys if key in user}}
        for item in visit.items if self._item_keys else ():
            past = self._items[item["item_id"]].features()
            item.update({key: past[key] for key in self._item_keys})
        return visit

    def _note(self, visit: Visit) -> None:
        items = {item["item_id"]: item for item in visit.items}
        self._users[visit.user["user_id"]].seen += len(items)
        for item_id in items:
            self._items[item_id].seen += 1
        for reaction in visit.reactions:
            if reaction.action == "click":
                self._count += 1
                click = (reaction.ts, self._count, visit.user["user_id"], items[reaction.item_id])
                heapq.heappush(self._clicks, click)
