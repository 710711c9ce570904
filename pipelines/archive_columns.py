"""Which columns the files of the archive have (`docs/formats.md`)."""

from collections.abc import Iterator
from typing import Final

from pipelines.schema import ExampleSchema

_TYPES: Final = {"int": "BIGINT", "float": "FLOAT", "string": "STRING"}
_PLACE: Final = {
    "topic": "STRING",
    "partition": "INT",
    "offset": "BIGINT",
    "position": "INT",
    "sequence": "BIGINT",
    "request_id": "STRING",
    "item_id": "STRING",
    "ts": "BIGINT",
    "joined_ts": "BIGINT",
    "action_ts": "BIGINT",
    "action_logged_ts": "BIGINT",
    "sampling_rate": "FLOAT",
    "pool_probability": "FLOAT",
    "pool_for": "STRING",
}
_END: Final = {"scores": "MAP<STRING, FLOAT>", "example": "BYTES"}
_FOLDERS: Final = ("event_day", "event_hour")
_ITEM_ID: Final = "item_id"


def columns(schema: ExampleSchema) -> dict[str, str]:
    """The columns of every file in order, and their SQL types; those of the folders are not among them."""
    return {**_PLACE, **dict(_features(schema)), **dict(_labels(schema)), **_END}


def _features(schema: ExampleSchema) -> Iterator[tuple[str, str]]:
    taken = {*_PLACE, *_END, *_FOLDERS}
    for name, feature in schema.features.items():
        if name != _ITEM_ID:
            kind = _TYPES[feature.type]
            column = f"feature:{name}" if name in taken else name
            yield column, f"ARRAY<{kind}>" if feature.many else kind


def _labels(schema: ExampleSchema) -> Iterator[tuple[str, str]]:
    for name, label in schema.labels.items():
        kinds = ("label", "mask", "was", *(("otherwise",) if label.kind == "number" else ()))
        yield from ((f"{kind}:{name}", "FLOAT") for kind in kinds)
