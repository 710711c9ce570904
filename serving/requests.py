"""The body of `POST /v1/predict`: read it, or say what is wrong with it, and where."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pipelines.expansion import MAX_CROSS_VALUES, MAX_LIST_VALUES, expansions, list_values
from pipelines.records import MalformedEvent, check_crosses, read
from pipelines.schema import ExampleSchema, Origin, Source

Request = dict[str, Any]
"""A body that was read: `user`, `context`, `items`, and perhaps `request_id`."""

MAX_VALUES: Final = 1 << 20
"""Values of lists, and of crosses of lists, that are scored at once: those of each item count."""
_KINDS: Final = {
    "int": "an integer of 64 bits",
    "float": "a number that a float32 can hold",
    "string": "a string",
}


class RefusedError(Exception):
    """A request that gets no scores, with what its sender is told."""

    def __init__(self, status: int, error: str, where: str, expected: str) -> None:
        super().__init__(error)
        self.status = status
        self.content = {"error": error, "where": where, "expected": expected}


class RequestReader:
    """Reads bodies for one schema."""

    def __init__(self, schema: ExampleSchema, max_items: int) -> None:
        self._schema = schema
        self._max_items = max_items
        self._expected = {
            origin: {source.key: _expected(source) for source in sources}
            for origin, sources in schema.sources.items()
        }

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
        origins: tuple[Origin, ...] = ("user", "context")
        for origin in origins:
            if request.get(origin) is None:
                request[origin] = {}
            self._check_object(origin, request[origin], origin)
        self._check_items(request.get("items"))
        return request

    def count_values(self, request: Request) -> int:
        """How many values its lists and crosses of lists come to, each item's by itself.

        Raises RefusedError when these are more than can be scored at once.
        """
        user, context, items = request["user"], request["context"], request["items"]
        if self._schema.crosses_of_lists:
            sizes = expansions(self._schema, user, context, items)
            values = sum(self._count_of_item(i, each) for i, each in enumerate(sizes))
        else:
            values = list_values(self._schema, user, context, items)
        if values > MAX_VALUES:
            raise RefusedError(
                422,
                f"lists and crosses come to {values} values over all items",
                "items",
                f"at most {MAX_VALUES} values: shorter lists, or fewer items",
            )
        return values

    def _count_of_item(self, i: int, sizes: Mapping[str, int]) -> int:
        try:
            check_crosses(self._schema, sizes)
        except MalformedEvent as error:
            expected = f"crosses of at most {MAX_CROSS_VALUES} combinations"
            raise RefusedError(422, error.detail, f"items[{i}]", expected) from None
        return sum(sizes.values())

    def _check_items(self, items: Any) -> None:
        if type(items) is not list:
            raise _wrong("items", items, "a list of objects, each with `item_id`")
        if len(items) > self._max_items:
            raise RefusedError(
                422, f"{len(items)} items in one request", "items", f"at most {self._max_items} items"
            )
        for i, item in enumerate(items):
            self._check_object(f"items[{i}]", item, "item")
            item_id = item.get("item_id")
            if type(item_id) is not int and type(item_id) is not str:
                raise _wrong(f"items[{i}].item_id", item_id, "an integer or a string")

    def _check_object(self, where: str, values: Any, origin: Origin) -> None:
        if type(values) is not dict:
            raise _wrong(where, values, "an object")
        try:
            read(self._schema.sources[origin], values)
        except MalformedEvent as error:
            expected = self._expected[origin][error.key]
            raise RefusedError(422, error.detail, f"{where}.{error.key}", expected) from None


def _expected(source: Source) -> str:
    kind = _KINDS[source.type]
    return f"a list of at most {MAX_LIST_VALUES} values, each of it {kind}" if source.many else kind


def _wrong(where: str, value: Any, expected: str) -> RefusedError:
    found = "missing" if value is None else orjson.dumps(value)[:80].decode(errors="replace")
    return RefusedError(422, f"`{where}` is {found}", where, expected)
