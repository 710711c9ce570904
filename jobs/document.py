"""A YAML file as plain values, with the line and column of each, and what is wrong with it as YAML."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from jobs.errors import JobError
from pipelines.variables import VARIABLE, escaped

KeyPath = tuple[str | int, ...]

_MAX_VALUES: Final = 100_000
"""Aliases of aliases can make a short file endless."""
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = frozenset({_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"})
_TEXTS: Final = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "merge", _TAG + "value"})
_HIDDEN: Final = ("kafka", "client")
"""The block that may hold passwords: its values are never shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands. `line` and `column` count from 1; None on the command line."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a job file. `line` and `column` count from 1; None on the command line."""

    file: str
    line: int | None
    column: int | None
    path: str
    """`schema.features.hour.type`; empty for the file as a whole."""
    value: Any
    """What stands there; None where nothing does."""
    message: str
    """What is wrong and what would be valid."""
    suggestion: str | None = None
    """What was probably meant."""

    def __str__(self) -> str:
        place = Place(self.file, self.line, self.column)
        got = None if self.value is None else f"got {show(self.value)}"
        meant = self.suggestion and f"did you mean {self.suggestion}?"
        details = "; ".join(filter(None, (got, meant)))
        return ": ".join(filter(None, (str(place), self.path, self.message))) + (
            f" ({details})" if details else ""
        )


class JobFileError(JobError):
    """A job file, or what `--set` made of it, is wrong; the text has one line per problem."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), exit_status=2)
        self.problems = problems


@dataclass
class Document:
    """Plain values, and where every key and every value stands."""

    file: str
    value: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    keeps_secrets: bool = False
    """`${NAME}` stays as it is in the block that may hold passwords."""

    def place(self, path: KeyPath, *, of_key: bool = False) -> Place:
        """Where the value (or the key) at `path` stands, or the innermost block around it that exists."""
        while path and path not in self.values:
            path, of_key = path[:-1], True
        found = self.keys.get(path) if of_key else None
        return found or self.values.get(path) or Place(self.file, 1, 1)

    def leaves(self) -> Iterator[tuple[KeyPath, Any]]:
        """Every scalar and its path."""
        for path in self.values:
            value = value_at(self.value, path)
            if not isinstance(value, dict | list):
                yield path, value

    def put(self, path: KeyPath, other: "Document") -> None:
        """Set the value at `path`, whose block exists, to that of `other`, which `other` is the place of."""
        parent = value_at(self.value, path[:-1])
        parent[path[-1]] = other.value
        for places in (self.keys, self.values):
            for stale in [each for each in places if each[: len(path)] == path]:
                del places[stale]
        for below, place in other.values.items():
            self.values[path + below] = self.keys[path + below] = place

    def report(self, place: Place, path: KeyPath, message: str, value: Any = None) -> None:
        """Note a mistake."""
        self.problems.append(Problem(place.file, place.line, place.column, dotted(path), value, message))


def value_at(value: Any, path: KeyPath) -> Any:
    """What stands at `path`; raises LookupError or TypeError when there is nothing."""
    for key in path:
        value = value[key]
    return value


def dotted(path: KeyPath) -> str:
    """`("ps", "addresses", 0)` as `ps.addresses[0]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def show(value: Any) -> str:
    """A value as one short line."""
    if isinstance(value, dict):
        return "a block of keys"
    text = repr(value) if isinstance(value, str) else yaml_of(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def yaml_of(value: Any) -> str:
    """A scalar or a list as one writes it in YAML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(yaml_of, value)) + "]"
    words = {None: "nothing", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def yaml_text(value: Any) -> str:
    """`value` as a YAML file that is read as it is: nothing in it names a variable, and it is ASCII."""
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = sys.maxsize  # a text that is folded in its middle is read with a space more
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the first label is the job's
    yaml.allow_unicode = False  # else U+0085 is written as it is, which is read as a space
    yaml.dump(escaped(value), text)
    return text.getvalue()


def is_hidden(path: KeyPath) -> bool:
    """Whether the value at `path` may be a password."""
    return path[:2] == _HIDDEN and len(path) > 2


def read_document(path: Path, *, keeps_secrets: bool = False) -> Document:
    """The file at `path`. What is wrong with it as YAML stands in `problems`; raises nothing."""
    document = Document(str(path), keeps_secrets=keeps_secrets)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.report(_after(path, error), (), "is not UTF-8 text")
    except FileNotFoundError:
        document.report(Place(str(path)), (), "there is no such file")
    except IsADirectoryError:
        document.report(Place(str(path)), (), "is a directory; a job file is needed")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        document.report(Place(str(path)), (), f"can't be read: {(reason or str(error)).lower()}")
    else:
        _parse(document, text)
    return document


def parse_option(text: str, option: str, *, keeps_variables: bool = False) -> Document:
    """`text`, which stands in `option` on the command line, as YAML; lines mean nothing there."""
    document = Document(option)
    _parse(document, text, keeps_variables=keeps_variables)
    document.values = dict.fromkeys([(), *document.values], Place(option))
    document.problems = [replace(each, line=None, column=None) for each in document.problems]
    return document


def _after(path: Path, error: UnicodeDecodeError) -> Place:
    before = error.object[: error.start]
    return Place(str(path), before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))


def _parse(document: Document, text: str, *, keeps_variables: bool = False) -> None:
    try:
        yaml = YAML(typ="safe", pure=True)
        node = yaml.compose(text)
        if node is not None:
            document.value = _Reader(document, yaml, keeps_variables).read(node, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(document.file, mark.line + 1, mark.column + 1) if mark else Place(document.file)
        document.report(place, (), _explain(error, text))
    except RecursionError:
        document.report(Place(document.file, 1, 1), (), "is nested too deeply")
    # The parser answers some garbage with errors of Python's own.
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        document.report(Place(document.file, 1, 1), (), f"is not YAML: {reason or type(error).__name__}")


def _explain(error: MarkedYAMLError, text: str) -> str:
    mark, problem = error.problem_mark, " ".join(str(error.problem or error.context).split())
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or r"'\t'" in problem:
        return "is not YAML: a tab; YAML is indented with spaces"
    if "expected a single document" in str(error):
        return "a second document begins here (`---`); a job file has one"
    if line.lstrip().startswith(("*", "&", "@", "`", "%")) or "undefined alias" in problem:
        problem += "; text with special characters needs quotes"
    return f"is not YAML: {problem}"


class _Reader:
    """Nodes to plain values; notes places and problems in the document."""

    def __init__(self, document: Document, yaml: YAML, keeps_variables: bool) -> None:
        self._document, self._constructor = document, yaml.constructor
        self._keeps_variables = keeps_variables
        self._open: set[int] = set()
        self._read = 0

    def read(self, node: Node, path: KeyPath) -> Any:
        """The value of `node`, which stands at `path`."""
        self._read += 1
        if id(node) in self._open or self._read > _MAX_VALUES:
            raise ValueError(
                f"{dotted(path)} contains itself" if id(node) in self._open else "it is too large"
            )
        self._document.values[path] = self._place(node)
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self.read(each, (*path, i)) for i, each in enumerate(node.value)]
            return self._scalar(cast(ScalarNode, node), path)
        finally:
            self._open.discard(id(node))

    def _place(self, node: Node) -> Place:
        return Place(self._document.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._document.report(self._place(key), path, "a key has to be a word")
            elif key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, SequenceNode) else [value]
            elif key.value in values:
                first = self._document.keys[(*path, key.value)]
                message = f"appears twice; the first is in line {first.line}"
                self._document.report(self._place(key), (*path, key.value), message)
            else:
                self._document.keys[(*path, key.value)] = self._place(key)
                values[key.value] = self.read(value, (*path, key.value))
                if value.start_mark.index == value.end_mark.index:
                    self._document.values[(*path, key.value)] = self._place(key)
        self._merge(merged, values, path)
        return values

    def _merge(self, nodes: list[Node], values: dict[str, Any], path: KeyPath) -> None:
        """`<<: *other`: what `other` has and `values` has not."""
        for node in nodes:
            if not isinstance(node, MappingNode):
                self._document.report(self._place(node), path, "`<<` needs a block of keys")
                continue
            for key, value in node.value:
                if isinstance(key, ScalarNode) and key.value not in values:
                    self._document.keys[(*path, key.value)] = self._place(key)
                    values[key.value] = self.read(value, (*path, key.value))

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        if node.tag in _TEXTS:
            return VARIABLE.sub(lambda match: self._variable(match, node, path), node.value)
        if node.tag in _NUMBERS:
            return self._constructor.construct_object(node)
        self._document.report(self._place(node), path, f"the tag {node.tag} is not known here")
        return None

    def _variable(self, match: re.Match[str], node: ScalarNode, path: KeyPath) -> str:
        escaped, name = match.groups()
        is_kept = self._keeps_variables or (self._document.keeps_secrets and is_hidden(path))
        if escaped:
            return match[0] if is_kept else match[0][1:]
        if not _VARIABLE_NAME.fullmatch(name):
            message = f"{match[0]} names no environment variable; write $${{…}} for the text itself"
            self._document.report(self._place(node), path, message)
        elif is_kept:
            return match[0]
        elif (value := os.environ.get(name)) is not None:
            return value
        else:
            self._document.report(self._place(node), path, f"the environment variable {name} is not set")
        return match[0]
