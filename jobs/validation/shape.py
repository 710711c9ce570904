"""What a job file may hold, by its JSON Schema: which keys there are, and in words which values."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Final, cast

from pydantic import ValidationError

from jobs.document import KeyPath, dotted, value_at
from jobs.spec import Job

_PATTERNS: Final = {
    "user|context|item": "`user.KEY`, `context.KEY` or `item.KEY`",
    "[a-z0-9-]": "lower-case letters, digits and hyphens (at most 63, a hyphen not first)",
    ":/.*": "a URL without a slash at its end, such as s3://bucket/joiner",
    "x$": "a speed-up such as 100x",
}
_SHOWN: Final = 20
"""Names in one message."""
_NEEDED: Final = {
    "name": "write what the recommender is called, such as `name: films`",
    "schema": "it holds `features` and `labels`",
    "features": "name at least one, such as `user_id: {from: user.user_id}`",
    "labels": "name at least one, such as `click: {action: click}`",
    "from": "write where the value stands in a request, such as `from: user.country`",
    "of": "write which features are crossed, such as `of: [country, category]`",
    "action": "write which action makes it 1, such as `action: click`",
}


@dataclass(frozen=True)
class Finding:
    """A mistake at a path of the job file; `jobs.load` finds its line."""

    path: KeyPath
    message: str
    suggestion: str | None = None
    uses: tuple[KeyPath, ...] = ()
    """What it was concluded from: when any of that is wrong itself, this may be no mistake."""
    is_key: bool = False
    """The key is wrong, not the value."""


def nearest(word: object, words: Iterable[str]) -> str | None:
    """The one of `words` that `word` was probably meant to be."""
    known = {each.casefold(): each for each in words}
    found = difflib.get_close_matches(str(word).casefold(), known, 1, 0.6)
    return known[found[0]] if found else None


def enumerated(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


@cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of the job file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Job.model_json_schema(by_alias=True)}


def find(path: KeyPath) -> dict[str, Any]:
    """The part of the schema for `path`; {} for an unknown one."""
    node = _resolve(json_schema())
    for key in path:
        node = _block(node)
        if isinstance(key, int):
            node = _resolve(node.get("items", {}))
        else:
            named = node.get("properties", {}).get(key) or node.get("additionalProperties")
            node = _resolve(named or next(iter(_patterns(node).values()), {}))
    return node


def _block(node: dict[str, Any]) -> dict[str, Any]:
    """What a block may have that may be left out, too."""
    options = [_resolve(each) for each in node.get("anyOf", ())]
    return next((each for each in options if each.get("type") in ("object", "array")), node)


def _patterns(node: dict[str, Any]) -> dict[str, Any]:
    """Where only the names of keys are restricted: the one pattern, and what stands there."""
    return cast(dict[str, Any], node.get("patternProperties", {}))


def keys_of(path: KeyPath) -> list[str]:
    """The keys that the block at `path` may have; none where they are free."""
    return list(_block(find(path)).get("properties", ()))


def describe(node: dict[str, Any]) -> str:
    """Which values are valid, after "must be"."""
    if "anyOf" in node:
        return enumerated(dict.fromkeys(describe(_resolve(each)) for each in node["anyOf"]))
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return enumerated(map(str, node["enum"]))
    kinds = {
        "null": "left out",
        "boolean": "true or false",
        "array": _describe_list(node),
        "object": "a block of keys",
        "string": next((words for key, words in _PATTERNS.items() if key in node.get("pattern", "")), "text"),
        "integer": "a whole number" + _bounds(node),
        "number": "a number" + _bounds(node),
    }
    return kinds.get(node.get("type", ""), "something else")


def _describe_list(node: dict[str, Any]) -> str:
    least = node.get("minItems")
    items = {"integer": "whole numbers", "number": "numbers"}.get(node.get("items", {}).get("type"), "texts")
    return f"a list of {f'at least {least} ' if least else ''}{items}, such as [a, b]"


def _bounds(node: dict[str, Any]) -> str:
    words = {
        "exclusiveMinimum": "above",
        "minimum": "at least",
        "exclusiveMaximum": "below",
        "maximum": "at most",
    }
    bounds = [f"{word} {node[key]:g}" for key, word in words.items() if key in node]
    if not bounds:
        return ""
    return f" {'of ' if bounds[0].startswith('at') else ''}{' and '.join(bounds)}"


def _resolve(node: object) -> dict[str, Any]:
    if not isinstance(node, dict):
        return {}
    if "$ref" in node:
        return _resolve(json_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]])
    return node


def findings_of(error: ValidationError, document: Any) -> list[Finding]:
    """Pydantic's errors about `document`, one per path, in words; unknown keys first."""
    errors: dict[KeyPath, str] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = each["loc"] if each["type"] == "missing" else _existing(each["loc"], document)
        errors.setdefault(path, "key" if each["loc"][-1] == "[key]" else each["type"])
    unknown = [_unknown(path) for path, kind in errors.items() if kind == "extra_forbidden"]
    mistyped = {(*each.path[:-1], each.suggestion) for each in unknown}
    missing = [
        Finding(path, f"is missing: {_NEEDED.get(str(path[-1]), 'it is needed')}", is_key=True)
        for path, kind in errors.items()
        if kind == "missing" and path not in mistyped
    ]
    keys = [_wrong_key(path) for path, kind in errors.items() if kind == "key"]
    kinds = ("missing", "extra_forbidden", "key")
    wrong = [_wrong(path, value_at(document, path)) for path, kind in errors.items() if kind not in kinds]
    return [*unknown, *missing, *keys, *wrong]


def _existing(path: KeyPath, document: Any) -> KeyPath:
    """`path` without what pydantic adds to it: branches of a union, `[key]`."""
    for end, key in enumerate(path):
        try:
            document = document[key]
        except (LookupError, TypeError):
            return path[:end]
    return path


def _unknown(path: KeyPath) -> Finding:
    *block, key = path
    known = keys_of(tuple(block))
    suggestion = nearest(key, known)
    elsewhere = [] if suggestion else list(_homes(str(key)))
    where = dotted(tuple(block)) or "a job file"
    message = f"is unknown; {where} may have {', '.join(known)}"
    if elsewhere:
        message = f"is not a key of {where}; it belongs to {enumerated(elsewhere[:3])}"
    return Finding(path, message, suggestion, is_key=True)


def _homes(key: str) -> Iterator[str]:
    """The blocks that have such a key."""
    for path, node in _blocks((), _resolve(json_schema())):
        if key in node.get("properties", {}):
            yield dotted(path) or "the top of the file"


def _blocks(path: KeyPath, node: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    yield path, node
    for key, below in node.get("properties", {}).items():
        yield from _blocks((*path, key), _resolve(below))
    if isinstance(node.get("additionalProperties"), dict):
        yield from _blocks((*path, "NAME"), _resolve(node["additionalProperties"]))


def _wrong(path: KeyPath, value: Any) -> Finding:
    node = find(path)
    message = f"must be {describe(node)}"
    if node.get("type") == "string" and "pattern" not in node and isinstance(value, int | float):
        message += ": put it in quotes"
    if value is None:
        message += ", and is empty"
    return Finding(path, message, _meant(node, value))


def _wrong_key(path: KeyPath) -> Finding:
    """A key that may be anything of a form, and has not that form."""
    (pattern,) = _patterns(find(path[:-1]))
    node = {"type": "string", "pattern": pattern}
    return Finding(path, f"must be {describe(node)}", _meant(node, path[-1]), is_key=True)


def _meant(node: dict[str, Any], value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if "user|context|item" in node.get("pattern", ""):
        origin, dot, key = value.partition(".")
        meant = nearest(origin, ("user", "context", "item"))
        return f"{meant}.{key}" if dot and meant and re.fullmatch(r"[^.\s]+", key) else None
    if "[a-z0-9-]" in node.get("pattern", ""):
        return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:63] or None
    words = node.get("enum") or [each["const"] for each in node.get("anyOf", ()) if "const" in each]
    if not words and (number := re.match(r"[0-9.]+(?=\s*[a-z%])", value)):
        return number[0] if node.get("type") in ("integer", "number") else None
    return nearest(value, words)


def sources_without(job: Job, keys: Mapping[str, Iterable[str]], who_has: str) -> Iterator[Finding]:
    """The features, and the fields of `negatives.by`, whose value is in no request.

    `keys` of each origin are all that there are.
    """
    places: dict[KeyPath, str] = {
        ("schema", "features", name, "from"): feature.source for name, feature in job.schema_.features.items()
    }
    places |= {("joiner", "negatives", "by", source): source for source in job.joiner.negatives.by}
    known = {origin: [f"{origin}.{key}" for key in dict.fromkeys(keys[origin])] for origin in keys}
    everywhere = list(chain(*known.values()))
    for path, source in places.items():
        here = known[source.split(".", 1)[0]]
        if source not in here:
            same = (each for each in everywhere if each.endswith(f".{source.split('.', 1)[1]}"))
            meant = next(same, None) or nearest(source, here) or nearest(source, everywhere)
            shown = ", ".join(here[:_SHOWN]) + (", …" if len(here) > _SHOWN else "")
            uses = (path, ("traffic", "kind"), ("traffic", "path"))
            message = f"is in no request: {who_has} {shown}"
            yield Finding(path, message, meant, uses, is_key=path[-1] == source)
