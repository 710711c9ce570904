"""Small talk with the user: guesses, durations."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import click


def meant(word: str, words: Iterable[str]) -> str:
    """` Did you mean X?`, or what there is."""
    known = list(words)
    close = difflib.get_close_matches(word, known, 1)
    return f". Did you mean {close[0]}?" if close else f". There are: {', '.join(known)}."


class Duration(click.ParamType[float]):
    """Seconds; `90`, `90s`, `5m` and `2h` are taken."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smh]?)", str(value))
        if not match or not float(match[1]):
            self.fail(f"{value!r} is no duration: write seconds above 0, or 90s, 5m, 2h.", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
