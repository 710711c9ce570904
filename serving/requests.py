"""The body of `POST /v1/predict`: read it, or say what is wrong with it, and where."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipelines.schema import ExampleSchema

Request = dict[str, Any]
"""A body that was read: `user`, `context`, `items`, and perhaps `request_id`."""

_INT64: Final = range(-(1 << 63), 1 << 63)
_FLOAT32_MAX: Final = 3.4028235e38


class RefusedError(Exception):
    """A request that gets no scores, with what its sender is told."""

    def __init__(self, status: int, error: str, where: str, expected: str) -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, "where": where, "expected": expected}


@dataclass(frozen=True, slots=True)
class _Check:
    """What one feature must look like, where it is present."""

    key: str
    many: bool
    fits: Callable[[Any], bool]
    expected: str


class RequestReader:
    """Reads bodies for one schema."""

    def __init__(self, schema: ExampleSchema, max_items: int) -> None:
        self._max_items = max_items
        self._checks: dict[str, list[_Check]] = {"user": [], "context": [], "item": []}
        for feature in schema.features.values():
            origin, _, key = feature.source.partition(".")
            fits, expected = _KINDS[feature.type]
            self._checks[origin].append(_Check(key, feature.many, fits, expected))

    def read(self, body: bytes) -> Request:
        """The request; raises RefusedError, 400 for what is not JSON and 422 for what can't be scored."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RefusedError(400, f"not JSON: {error}", "body", "a JSON object with `items`") from None
        if type(request) is not dict:
            raise _wrong("body", request, "a JSON object with `items`")
        if not isinstance(request.get("request_id"), str | None):
            raise _wrong("request_id", request["request_id"], "a string")
        for origin in ("user", "context"):
            if request.get(origin) is None:
                request[origin] = {}
            self._check_object(origin, request[origin], self._checks[origin])
        self._check_items(request.get("items"))
        return request

    def _check_items(self, items: Any) -> None:
        if type(items) is not list:
            raise _wrong("items", items, "a list of objects, each with `item_id`")
        if len(items) > self._max_items:
            raise RefusedError(
                422, f"{len(items)} items in one request", "items", f"at most {self._max_items} items"
            )
        checks = self._checks["item"]
        for i, item in enumerate(items):
            self._check_object(f"items[{i}]", item, checks)
            item_id = item.get("item_id")
            if type(item_id) is not int and type(item_id) is not str:
                raise _wrong(f"items[{i}].item_id", item_id, "an integer or a string")

    @staticmethod
    def _check_object(where: str, values: Any, checks: Sequence[_Check]) -> None:
        if type(values) is not dict:
            raise _wrong(where, values, "an object")
        for check in checks:
            value = values.get(check.key)
            if value is None:
                continue
            if check.many:
                if type(value) is not list or not all(map(check.fits, value)):
                    raise _wrong(f"{where}.{check.key}", value, f"a list, each of it {check.expected}")
            elif not check.fits(value):
                raise _wrong(f"{where}.{check.key}", value, check.expected)


def _is_int(value: Any) -> bool:
    # `bool` is an `int` to isinstance.
    return type(value) is int and value in _INT64


def _is_float(value: Any) -> bool:
    return (type(value) is float or type(value) is int) and abs(value) <= _FLOAT32_MAX


def _is_string(value: Any) -> bool:
    return type(value) is str


_KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "int": (_is_int, "an integer of 64 bits"),
    "float": (_is_float, "a number that a float32 can hold"),
    "string": (_is_string, "a string"),
}


def _wrong(where: str, value: Any, expected: str) -> RefusedError:
    found = "missing" if value is None else orjson.dumps(value)[:80].decode(errors="replace")
    return RefusedError(422, f"`{where}` is {found}", where, expected)
