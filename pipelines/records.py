"""Raw events as types, and the one reader of raw features, for the joiner and for serving.

Whatever is not as `docs/formats.md` says is a `MalformedEvent`, never another exception: events come from
outside.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import orjson

from pipelines.expansion import MAX_CROSS_VALUES, MAX_LIST_VALUES, expansions
from pipelines.schema import ExampleSchema, Source

Scalar = int | float | str
Value = Scalar | list[Scalar]
"""What a feature holds; a list when the schema says `many`."""

INT64_MAX: Final = (1 << 63) - 1
FLOAT32_MAX: Final = 3.4028234663852886e38
MAX_ID_CHARACTERS: Final = 512
"""Of `request_id` and `item_id`: both stand in every example, and one of them is the key of messages."""
_TEXT_CHARACTERS: Final = 80
"""Of a value that is quoted in a sentence."""
_FLOAT32: Final = struct.Struct("<f")
_NAMES: Final = {int: "an integer", float: "a number", str: "a string", dict: "an object", list: "a list"}


class MalformedEvent(ValueError):  # noqa: N818  (the name that docs and metrics use)
    """An event that can't be used. `reason` is the one of the dead letter, `detail` a sentence.

    `key`: of the value that is wrong, or the name of the cross.
    """

    def __init__(self, reason: str, detail: str, key: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.key = key


@dataclass(frozen=True, slots=True)
class Item:
    """One candidate of a request. `item_id` in decimal when it was an integer; `values` is the raw object."""

    item_id: str
    values: Mapping[str, Any]

    @property
    def scores(self) -> Mapping[str, float]:
        """What the item had been scored, by name. Raises MalformedEvent."""
        return read_scores(self.values)


@dataclass(frozen=True, slots=True)
class Request:
    """One event of `features`. Without items it is a heartbeat."""

    request_id: str
    ts_ms: int
    user: Mapping[str, Any]
    context: Mapping[str, Any]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """One event of `actions`. With an empty `action` it is a heartbeat."""

    request_id: str
    item_id: str
    action: str
    value: float
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Example:
    """One item of one request, with what is known of its labels. Times in milliseconds since 1970.

    `labels` and `masks` have an entry per label of the schema: a label is taught where its mask is 1. How a
    trainer must read all of it: `docs/labels.md`.
    """

    request_id: str
    item_id: str
    ts_ms: int
    joined_ts_ms: int
    action_ts_ms: int
    action_logged_ts_ms: int
    sampling_rate: float
    features: Mapping[str, Value]
    labels: Mapping[str, float]
    masks: Mapping[str, float]
    scores: Mapping[str, float]
    was: Mapping[str, float] = field(default_factory=dict)
    """Labels that an earlier example taught otherwise: that value is taken back."""
    otherwise: Mapping[str, float] = field(default_factory=dict)
    """1 for each label of kind number that is taught, though no action is behind it."""
    pool_probability: float = 0.0
    """Of a negative drawn from recent items: the share of them that are this item. Else 0."""
    pool_for: str = ""
    """Of a drawn negative: the item id of the positive."""


def float32(number: float) -> float:
    """The nearest 32-bit float: what an example holds of a number."""
    return cast(float, _FLOAT32.unpack(_FLOAT32.pack(number))[0])


def decode_request(data: bytes, schema: ExampleSchema) -> Request:
    """An event of `features`, with every feature of `schema` checked. Raises MalformedEvent."""
    request = parse_request(data)
    # What is accepted now may be encoded days later: a wrong type has to be found while the event can be
    # refused.
    sources = schema.sources
    read(sources["user"], request.user)
    read(sources["context"], request.context)
    for item in request.items:
        read(sources["item"], item.values)
        read_scores(item.values)
    if schema.crosses_of_lists:
        for sizes in expansions(schema, request.user, request.context, (i.values for i in request.items)):
            check_crosses(schema, sizes)
    return request


def parse_request(data: bytes) -> Request:
    """An event of `features` by its form alone. Raises MalformedEvent."""
    event = _object(data)
    user, context = _optional_object(event, "user"), _optional_object(event, "context")
    items = tuple(_item(position, raw) for position, raw in enumerate(_field(event, "items", list)))
    request_id = _request_id(event) if items else ""
    return Request(request_id, _field(event, "ts", int), user, context, items)


def decode_action(data: bytes) -> Action:
    """An event of `actions`. Raises MalformedEvent."""
    event = _object(data)
    ts_ms, action = _field(event, "ts", int), _field(event, "action", str)
    if not action:
        return Action("", "", "", 0.0, ts_ms)
    value = _float("value", event.get("value", 1))
    return Action(_request_id(event), _item_id(event), action, value, ts_ms)


def extract(
    schema: ExampleSchema, user: Mapping[str, Any], context: Mapping[str, Any], item: Mapping[str, Any]
) -> dict[str, Value]:
    """Every feature of the schema that the raw event has, by name. Raises MalformedEvent for a wrong type."""
    sources = schema.sources
    return read(sources["user"], user) | read(sources["context"], context) | read(sources["item"], item)


def salvage(
    schema: ExampleSchema, user: Mapping[str, Any], context: Mapping[str, Any], item: Mapping[str, Any]
) -> tuple[dict[str, Value], int]:
    """Like `extract`, of an event that was accepted once: what has the wrong type by now is left out.

    Returns the features, and how many were left out.
    """
    try:
        return extract(schema, user, context, item), 0
    except MalformedEvent:
        pass
    features: dict[str, Value] = {}
    left_out = 0
    for sources, values in zip(schema.sources.values(), (user, context, item), strict=True):
        for source in sources:
            try:
                features |= read((source,), values)
            except MalformedEvent:
                left_out += 1
    return features, left_out


def read(sources: Iterable[Source], values: Mapping[str, Any]) -> dict[str, Value]:
    """The features that stand among the values of one origin; absent and null ones are left out."""
    features: dict[str, Value] = {}
    for name, key, kind, many in sources:
        value = values.get(key)
        if value is None:
            continue
        if many:
            if type(value) is not list:
                raise _wrong(key, list, value)
            if len(value) > MAX_LIST_VALUES:
                sentence = f"`{key}` has {len(value)} values: lists end at {MAX_LIST_VALUES}"
                raise MalformedEvent("malformed", sentence, key)
            # An empty list has no type of its own, so it can't be told from none when it is encoded.
            if value:
                features[name] = [_scalar(key, kind, each) for each in value]
        else:
            features[name] = _scalar(key, kind, value)
    return features


def check_crosses(schema: ExampleSchema, sizes: Mapping[str, int]) -> None:
    """Raise MalformedEvent when a cross has too many combinations; `sizes`: one of `expansions`."""
    for name in schema.crosses_of_lists:
        if sizes[name] > MAX_CROSS_VALUES:
            sentence = f"cross `{name}` has {sizes[name]} combinations: crosses end at {MAX_CROSS_VALUES}"
            raise MalformedEvent("malformed", sentence, name)


def read_scores(item: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a raw item by name; null ones are left out. Raises MalformedEvent."""
    scores = item.get("scores")
    if scores is None:
        return {}
    if type(scores) is not dict:
        raise _wrong("scores", dict, scores)
    return {name: _float(name, score, "scores.") for name, score in scores.items() if score is not None}


def _scalar(key: str, kind: str, value: Any) -> Scalar:
    if kind == "float":
        return _float(key, value)
    if kind == "int":
        if type(value) is not int:
            raise _wrong(key, int, value)
        if value > INT64_MAX:
            raise MalformedEvent("malformed", f"`{key}` is {value}: integers end at {INT64_MAX}", key)
    elif type(value) is not str:
        raise _wrong(key, str, value)
    return cast(int | str, value)


def _float(key: str, value: Any, path: str = "") -> float:
    if type(value) is not float and type(value) is not int:
        raise _wrong(path + key, float, value)
    if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise MalformedEvent("malformed", f"`{path}{key}` is {value}: examples hold 32-bit floats", key)
    return float(value)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent("malformed", f"not JSON: {error}") from None
    if type(event) is not dict:
        raise _wrong("the event", dict, event)
    return event


def _optional_object(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = event.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise _wrong(key, dict, value)
    return value


def _field(event: Mapping[str, Any], key: str, expected: type) -> Any:
    value = event.get(key)
    if value is None:
        raise MalformedEvent("malformed", f"`{key}` is missing")
    if type(value) is not expected:
        raise _wrong(key, expected, value)
    return value


def _item(position: int, raw: Any) -> Item:
    if type(raw) is not dict:
        raise _wrong(f"items[{position}]", dict, raw)
    return Item(_item_id(raw, position), raw)


def _request_id(event: Mapping[str, Any]) -> str:
    request_id: str = _field(event, "request_id", str)
    if len(request_id) > MAX_ID_CHARACTERS:
        raise _too_long("request_id", request_id)
    return request_id


def _item_id(values: Mapping[str, Any], position: int | None = None) -> str:
    item_id = values.get("item_id")
    if type(item_id) is int:
        return str(item_id)
    if type(item_id) is str and len(item_id) <= MAX_ID_CHARACTERS:
        return item_id
    path = "item_id" if position is None else f"items[{position}].item_id"
    if type(item_id) is str:
        raise _too_long(path, item_id)
    if item_id is None:
        raise MalformedEvent("malformed", f"`{path}` is missing")
    raise _wrong(path, str, item_id)


def _too_long(key: str, text: str) -> MalformedEvent:
    return MalformedEvent(
        "too-large", f"`{key}` has {len(text)} characters; at most {MAX_ID_CHARACTERS} are taken"
    )


def _wrong(key: str, expected: type, value: Any) -> MalformedEvent:
    return MalformedEvent("malformed", f"`{key}` is {_text(value)!r}, not {_NAMES[expected]}", key)


def _text(value: Any) -> str:
    """The beginning of a value as Python writes it."""
    try:
        return str(value)[:_TEXT_CHARACTERS]
    except RecursionError:
        return str(_upper_levels(value, _TEXT_CHARACTERS))[:_TEXT_CHARACTERS]


def _upper_levels(value: Any, levels: int) -> Any:
    """What shows of a value in so many characters: each level takes one at least."""
    if levels == 0:
        return None
    if isinstance(value, dict):
        return {key: _upper_levels(each, levels - 1) for key, each in value.items()}
    return [_upper_levels(each, levels - 1) for each in value] if isinstance(value, list) else value
