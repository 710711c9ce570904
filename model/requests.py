"""Requests to `POST /v1/predict` as columns: a row per item, in order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.features import MISSING, Column, Lists, fingerprint, repeat
from pipelines.schema import ExampleSchema, Source

Values = Iterable[Any]


def columns(schema: ExampleSchema, requests: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """The features of every item of `requests`, each with `user`, `context` and `items` as it was sent.

    What is null or absent is a missing value; types are as the schema says (serving checks them).
    """
    counts = np.array([len(request["items"]) for request in requests], np.int64)
    items = [item for request in requests for item in request["items"]]
    found: dict[str, Column] = {}
    for origin in ("user", "context"):
        objects = [request.get(origin) or {} for request in requests]
        for source in schema.sources[origin]:
            found[source.feature] = repeat(_column(source, objects), counts)
    for source in schema.sources["item"]:
        found[source.feature] = _column(source, items)
    return found


def _column(source: Source, objects: Sequence[Mapping[str, Any]]) -> Column:
    read, key = _READERS[source.type], source.key
    if not source.many:
        return read([each.get(key) for each in objects])
    lists = [each.get(key) or () for each in objects]
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return Lists(read([value for values in lists for value in values]), lengths)


def _integers(values: list[Any]) -> npt.NDArray[Any]:
    return np.array([MISSING if value is None else value for value in values], np.int64)


def _numbers(values: list[Any]) -> npt.NDArray[Any]:
    return np.array([np.nan if value is None else value for value in values], np.float32)


def _strings(values: list[Any]) -> npt.NDArray[Any]:
    return np.array([fingerprint(value.encode()) if value else MISSING for value in values], np.int64)


_READERS: Final[Mapping[str, Callable[[list[Any]], npt.NDArray[Any]]]] = {
    "int": _integers,
    "float": _numbers,
    "string": _strings,
}
