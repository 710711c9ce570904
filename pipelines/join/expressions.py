"""The expressions of labels (`when`, `value`): CEL, the Common Expression Language (cel.dev).

They have no loops of their own, no state and no way out, so a job file can't do harm with one. What of the
language there is, and which variables, `expressions.yaml` says, which the engine in Java reads as well.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final, Literal

from cel_expr_python import cel

from pipelines.records import Action, Item, Request

MAX_DEPTH: Final = 16
"""Objects and lists that are nested deeper in an event are null to expressions."""

VARIABLES: Final = ("value", "action", "delay_s", "user", "context", "item")

# From a package that may be a zip: so it reaches Flink.
_LANGUAGE: Final = files("pipelines.join").joinpath("expressions.yaml").read_text()
_ENVIRONMENT: Final = cel.NewEnv(config=cel.NewEnvConfigFromYaml(_LANGUAGE))
_RESULTS: Final[dict[str, tuple[str, ...]]] = {"boolean": ("BOOL", "DYN"), "number": ("DOUBLE", "INT", "DYN")}
_PROBLEM: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \(in container ''\))?(?: \[\w+\])?$")


class ExpressionError(ValueError):
    """An expression that is wrong in itself, or that has no answer for the action at hand; a sentence."""


class Expression:
    """One expression; `names`: the variables that it may read. Raises ExpressionError when it is wrong."""

    def __init__(self, text: str, kind: Literal["boolean", "number"]) -> None:
        self._kind: Final = kind
        try:
            self._program: Final = _ENVIRONMENT.compile(text)
        except RuntimeError as error:
            raise ExpressionError(_problem(str(error))) from None
        returns = self._program.return_type().name()
        if returns not in _RESULTS[kind]:
            raise ExpressionError(f"its result is a {returns.lower()}, not a {kind}")
        self.names: Final = frozenset(name for name in VARIABLES if name in text)

    def evaluate(self, variables: cel.Activation) -> bool | float:
        """A bool or a float, as its kind says. Raises ExpressionError when it has no answer."""
        try:
            result = self._program.eval(variables)
        except RuntimeError as error:
            raise ExpressionError(str(error)) from None
        answer = result.plain_value()
        if self._kind == "boolean" and isinstance(answer, bool):
            return answer
        if self._kind == "number" and isinstance(answer, int | float) and not isinstance(answer, bool):
            return float(answer)
        if result.type() == cel.Type.ERROR:
            raise ExpressionError(str(answer))
        raise ExpressionError(f"its result is a {result.type().name().lower()}, not a {self._kind}")


def variables(names: Iterable[str], request: Request, item: Item, action: Action) -> cel.Activation:
    """What expressions that read `names` see of an action."""
    delay_s = (action.ts_ms - request.ts_ms) / 1000.0
    scalars = {"value": action.value, "action": action.action, "delay_s": delay_s}
    objects = {"user": request.user, "context": request.context, "item": item.values}
    return _ENVIRONMENT.Activation(
        {name: scalars[name] if name in scalars else _with_doubles(objects[name], 1) for name in names}
    )


def _with_doubles(value: Any, depth: int) -> Any:
    """A value of an event, every number a double: an expression must not depend on how one was spelled."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Mapping | list) and depth > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {key: _with_doubles(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_doubles(each, depth + 1) for each in value]
    return value


def _problem(text: str) -> str:
    """The first problem that the compiler names, in one line."""
    match = _PROBLEM.search(text.splitlines()[0])
    if match is None or int(match[1]) < 1:
        return match[3] if match else text
    where = f"column {match[2]}" if match[1] == "1" else f"line {match[1]}, column {match[2]}"
    hint = "; numbers are doubles: write 2.0, not 2" if re.search(r"overload.*\bu?int\b", match[3]) else ""
    return f"{where}: {match[3]}{hint}"
