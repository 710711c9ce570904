"""Whether a backfill can read what the job file names, as far as the file itself tells."""

import re
from collections.abc import Iterator
from typing import Final

from jobs.spec import Job
from jobs.validation.shape import Finding

PLACE: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+|(?!.*:/)\S.*")
"""A folder or file, or a URL."""


def input_findings(job: Job) -> Iterator[Finding]:
    """What is wrong with `joiner.input`, or does not go with it."""
    given, path = job.joiner.input, ("joiner", "input")
    if given is None:
        return
    if job.joiner.engine == "python":
        message = "is read by engine jvm only: set joiner.engine to jvm"
        yield Finding(path, message, uses=(("joiner", "engine"),), is_key=True)
    if job.traffic.kind != "none":
        where = ("traffic", "kind")
        yield Finding(
            where, "must be none with joiner.input: a backfill has its events already", uses=(where, path)
        )
    yield from _topics(job) if given.kind == "kafka" else _files(job)


def _topics(job: Job) -> Iterator[Finding]:
    given, path = job.joiner.input, ("joiner", "input")
    for name in ("features", "actions"):
        if given is not None and getattr(given, name) is not None:
            message = f"is for kind files: of kind kafka it is the topic, kafka.topics.{name}"
            yield Finding((*path, name), message, uses=((*path, "kind"), (*path, name)), is_key=True)
    if given is not None and given.ends is not None and len(given.ends) < 2:
        yield Finding(
            (*path, "ends"), "needs both, features and actions: or leave it out, for the present ends"
        )
    if job.kafka.bootstrap == "embedded":
        where = ("kafka", "bootstrap")
        message = "is embedded, a new broker without events: name yours, or set joiner.input.kind to files"
        yield Finding(where, message, uses=(where, (*path, "kind")))


def _files(job: Job) -> Iterator[Finding]:
    given, path = job.joiner.input, ("joiner", "input")
    if given is not None and given.actions is not None and given.actions == given.features:
        yield Finding((*path, "actions"), "is what features names already: each event would be read as both")
    for name in ("features", "actions"):
        place = getattr(given, name)
        if place is None:
            message = f"needs {name}: a file, a folder or a URL such as s3://bucket/{name}"
            yield Finding((*path, "kind"), message, uses=((*path, "kind"), (*path, name)))
        elif not PLACE.fullmatch(place):
            message = f"must be a file, a folder, or a URL such as s3://bucket/{name}"
            yield Finding((*path, name), message, uses=((*path, name),))
