"""The job file as a `Job`, or everything that is wrong with it: file, line, column, what would be valid."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from jobs.document import (
    Document,
    JobFileError,
    KeyPath,
    Place,
    Problem,
    dotted,
    is_hidden,
    parse_option,
    read_document,
    value_at,
    yaml_text,
)
from jobs.spec import Job
from jobs.validation.meaning import check
from jobs.validation.shape import Finding, describe, find, findings_of

__all__ = ["JobFileError", "Problem", "dump_job", "load_job"]

_STAND_INS: Final[dict[str, Any]] = {
    "name": "unnamed",
    "schema": {"features": {}, "labels": {}},
    "features": {},
    "labels": {},
    "from": "user.unknown",
    "of": ["unknown", "unknown"],
    "action": "unknown",
}
"""For required keys that are missing or wrong, so that the rest of the file can be looked at."""
_REPAIRS: Final = 3
Check = Callable[[Job], list[Finding]]


def load_job(
    path: Path,
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (check,),
    *,
    keeps_secrets: bool = False,
) -> Job:
    """The job in the YAML file at `path`, with `${NAME}` taken from the environment.

    `overrides` are `KEY.KEY=VALUE`, the value in YAML. `checks` look at the job once its types are right.
    With `keeps_secrets` variables stay what they are in `kafka.client`. Raises JobFileError with every
    mistake.
    """
    document = read_document(path, keeps_secrets=keeps_secrets)
    if not document.problems:
        _check_top(document)
    if not document.problems or isinstance(document.value, dict):
        for override in overrides:
            _override(document, override)
    problems = list(document.problems)
    job = None
    if isinstance(document.value, dict):
        job, findings = examine(document, checks)
        # What could not be read at all is not wrong a second time.
        unread = {(each.path, each.line, each.column) for each in problems}
        located = [_located(document, finding) for finding in findings]
        problems += [each for each in located if (each.path, each.line, each.column) not in unread]
    if problems or job is None:
        raise JobFileError(_in_order(problems, document))
    return job


def dump_job(job: Job) -> str:
    """`job` as a job file that `load_job` reads back to the same job."""
    return yaml_text(job.model_dump(mode="json", by_alias=True))


def examine(document: Document, checks: Sequence[Check]) -> tuple[Job | None, list[Finding]]:
    """The job in `document`, and what is wrong with it. The job is None when it can't even be repaired."""
    value, found = document.value, _odd_numbers(document)
    for finding in found:
        value = _repaired(value, finding)
    for _ in range(_REPAIRS):
        try:
            job = Job.model_validate(value)
        except ValidationError as error:
            new = findings_of(error, value)
            # A block that a repair has emptied is no mistake of the file's.
            found += [finding for finding in new if not _rests_on(finding.path, found)]
            # Inner ones first: removing what is around them would lose their place.
            for finding in sorted(new, key=lambda each: -len(each.path)):
                value = _repaired(value, finding)
        else:
            meant = [finding for each in checks for finding in each(job)]
            return job, found + [each for each in meant if not any(_rests_on(u, found) for u in _uses(each))]
    return None, found


def _uses(finding: Finding) -> tuple[KeyPath, ...]:
    return (finding.path, *finding.uses)


def _rests_on(path: KeyPath, found: list[Finding]) -> bool:
    """Whether something at or around `path` is known to be wrong, or was meant to be `path`."""
    for finding in found:
        is_renamed = finding.is_key and finding.suggestion is not None
        wrong = (*finding.path[:-1], finding.suggestion) if is_renamed else finding.path
        if path[: len(wrong)] == wrong:
            return True
    return False


def _repaired(document: Any, finding: Finding) -> Any:
    """`document` without what `finding` is about: gone where it may be, else something that is valid."""
    path: KeyPath = finding.path
    # Without one entry a list may be valid and mean something else.
    path = next((path[:end] for end, key in enumerate(path) if isinstance(key, int)), path)
    document = copy.deepcopy(document)
    if not path:
        return {**_STAND_INS["schema"]} if not isinstance(document, dict) else document
    try:
        block = value_at(document, path[:-1])
        block.pop(path[-1], None)
    except (LookupError, TypeError, AttributeError):
        return document
    if path[-1] in find(path[:-1]).get("required", ()):
        block[path[-1]] = copy.deepcopy(_STAND_INS[str(path[-1])])
    elif not find(path[:-1]).get("properties") and not finding.is_key:
        # An entry of features, crosses or labels: others may refer to it.
        needed = find(path).get("required", ())
        block |= {path[-1]: {key: _STAND_INS[key] for key in needed}} if needed else {}
    return document


def _odd_numbers(document: Document) -> list[Finding]:
    """What YAML takes for numbers and pydantic for others than were meant: true for 1, `.nan` and `.inf`."""
    findings = []
    for path, value in document.leaves():
        kinds = {find(path).get("type")} | {each.get("type") for each in find(path).get("anyOf", ())}
        is_number = bool(kinds & {"integer", "number"})
        if (isinstance(value, bool) and is_number) or (isinstance(value, float) and not math.isfinite(value)):
            findings.append(
                Finding(path, f"must be {describe(find(path))}" if find(path) else "must be finite")
            )
    return findings


def _check_top(document: Document) -> None:
    place = document.values.get((), Place(document.file, 1, 1))
    if document.value is None:
        document.report(
            place, (), "is empty: a job file needs at least `name` and `schema` (see jobs/demo.yaml)"
        )
    elif not isinstance(document.value, dict):
        document.report(place, (), "must be a block of keys, such as `name: films`", document.value)


def _override(document: Document, override: str) -> None:
    """Apply one `--set`; its mistakes go to the document's problems."""
    file = f"--set {override}"
    name, equals, text = override.partition("=")
    path = _path(name.strip())
    if not equals or not all(path):
        document.report(Place(file), (), "must be KEY.KEY=VALUE, such as traffic.speed=100x")
        return
    if is_hidden(path):
        file = f"--set {name}"
    is_kept = document.keeps_secrets and is_hidden(path)
    value = parse_option(text, file, keeps_variables=is_kept)
    document.problems += value.problems
    if value.problems:
        return
    try:
        document.put(_opened(document, path, file), value)
    except (LookupError, TypeError, ValueError) as error:
        document.report(Place(file), (), str(error))


def _path(name: str) -> tuple[str, ...]:
    """`ps.shards` as a path; Kafka's own names have dots in them."""
    path = tuple(name.split("."))
    for end in range(1, len(path)):
        if find(path[:end]).get("additionalProperties") == {"type": "string"}:
            return (*path[:end], ".".join(path[end:]))
    return path


def _opened(document: Document, path: tuple[str, ...], file: str) -> KeyPath:
    """`path` with places in lists as numbers; blocks on the way that are not there are made."""
    here: Any = document.value
    done: KeyPath = ()
    for i, key in enumerate(path):
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise ValueError(
                    f"{dotted(done)} is a list of {len(here)}: {key} must be a number below that"
                )
            done = (*done, int(key))
        elif isinstance(here, dict):
            done = (*done, key)
            if here.get(key) is None and i < len(path) - 1:
                here[key] = {}
                document.keys[done] = document.values[done] = Place(file)
        else:
            raise ValueError(f"{dotted(done)} is not a block of keys, so it has no {key}")
        if i < len(path) - 1:
            here = here[done[-1]]
    return done


def _located(document: Document, finding: Finding) -> Problem:
    place = document.place(finding.path, of_key=finding.is_key)
    try:
        value = None if finding.is_key else value_at(document.value, finding.path)
    except (LookupError, TypeError):
        value = None
    if is_hidden(finding.path):
        value = None
    path, message = dotted(finding.path), finding.message
    return Problem(place.file, place.line, place.column, path, value, message, finding.suggestion)


def _in_order(problems: list[Problem], document: Document) -> list[Problem]:
    """By line; those of the command line last. Each once."""
    unique = {(each.file, each.line, each.column, each.path, each.message): each for each in problems}
    return sorted(
        unique.values(),
        key=lambda each: (each.file != document.file, each.line or 0, each.column or 0),
    )
