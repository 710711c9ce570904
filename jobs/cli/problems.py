"""Errors as text for people and as JSON for programs."""

from dataclasses import asdict
from typing import Any

from jobs.errors import JobError


def as_text(error: Exception) -> str:
    """What to print on standard error."""
    problems = _problems(error)
    if problems:
        # A single mistake is a sentence by itself.
        return f"{error}\nError: {_count(problems)}" if len(problems) > 1 else f"Error: {error}"
    if isinstance(error, JobError):
        return f"Error: {error}"
    return f"Error: {_surprise(error)} (--debug shows where)"


def as_json(error: Exception) -> dict[str, Any]:
    """`error`, a sentence, and `problems`, where the error is a job file's."""
    problems = _problems(error)
    if problems:
        return {"error": _count(problems), "problems": [asdict(each) for each in problems]}
    return {"error": str(error) if isinstance(error, JobError) else _surprise(error)}


def _problems(error: Exception) -> list[Any]:
    return getattr(error, "problems", []) if isinstance(error, JobError) else []


def _count(problems: list[Any]) -> str:
    places = ("on the command line" if "--set" in each.file else f"in {each.file}" for each in problems)
    mistakes = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return f"{mistakes} {' and '.join(dict.fromkeys(places))}"


def _surprise(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
