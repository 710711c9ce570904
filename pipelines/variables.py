"""`${NAME}` in texts: the environment variable NAME. `$${` is `${` itself."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

VARIABLE: Final = re.compile(r"\$(\$)?\{([^}]*)\}")
"""Groups: whether it is no variable but the text itself, and the name."""


def escaped(value: Any) -> Any:
    """JSON-like `value` such that `filled_in` gives it back: no text in it names a variable."""
    return _texts(value, lambda text: VARIABLE.sub(lambda match: f"${match[0]}", text))


def filled_in(value: Any, environment: Mapping[str, str]) -> Any:
    """JSON-like `value` with the variables of its texts, keys aside; raises KeyError for an unset one."""

    def variable(match: re.Match[str]) -> str:
        return match[0][1:] if match[1] else environment[match[2]]

    return _texts(value, lambda text: VARIABLE.sub(variable, text))


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _texts(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_texts(each, change) for each in value]
    return change(value) if isinstance(value, str) else value
