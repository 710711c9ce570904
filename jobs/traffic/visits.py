"""What every kind of traffic yields: a request, the items shown, and how the user will react.

A `Visit` is complete when it is made: the reactions are known beforehand (drawn from the simulated user, or
read from the replayed log), but nobody is told of one before its time has come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True, frozen=True)
class Reaction:
    """One action of the user on one item of the request, at event time `ts` (ms); `due` (ms) is when it is
    logged."""

    item_id: int | str
    action: str
    ts: int
    due: int
    value: float | None = None

    def encode(self, request_id: str) -> bytes:
        """The value of this reaction in the `actions` topic (`docs/formats.md`)."""
        event: dict[str, Any] = {"request_id": request_id, "item_id": self.item_id, "action": self.action}
        if self.value is not None:
            event["value"] = self.value
        event["ts"] = self.ts
        return orjson.dumps(event)


@dataclass(slots=True)
class Visit:
    """One request at event time `ts` (ms), and the reactions that will follow it."""

    request_id: str
    ts: int
    user: Mapping[str, Any]
    context: Mapping[str, Any]
    items: list[dict[str, Any]]
    reactions: list[Reaction] = field(default_factory=list)

    def question(self) -> bytes:
        """The body of `POST /v1/predict`: what serving may know, so neither reactions nor known scores."""
        items = [{key: value for key, value in item.items() if key != "scores"} for item in self.items]
        return orjson.dumps(
            {"request_id": self.request_id, "user": self.user, "context": self.context, "items": items}
        )

    def encode(self, scores: Mapping[Any, Mapping[str, float]]) -> bytes:
        """The value of this request in the `features` topic, each item with what serving answered for its
        id."""
        items = [
            {**item, "scores": {**item.get("scores", {}), **scores.get(item["item_id"], {})}}
            for item in self.items
        ]
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "ts": self.ts,
                "user": self.user,
                "context": self.context,
                "items": items,
            }
        )


def request_heartbeat(request_id: str, ts: int) -> bytes:
    """A `features` event that only moves event time on to `ts` (ms)."""
    return orjson.dumps({"request_id": request_id, "ts": ts, "user": {}, "context": {}, "items": []})


def action_heartbeat(request_id: str, ts: int) -> bytes:
    """An `actions` event that only moves event time on to `ts` (ms)."""
    return orjson.dumps({"request_id": request_id, "item_id": 0, "action": "", "ts": ts})
