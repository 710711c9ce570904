"""What an `optimizer` block means: constants that its kind does not have, and what would not learn."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel

from jobs.document import KeyPath
from jobs.validation.shape import Finding, enumerated
from ps.settings import CONSTANTS, DENSE_KINDS, SCHEDULE_CONSTANTS, UNSCHEDULED_KINDS, OptimizerSettings

_BAD: Final = "bad_gradients"
_Kind = TypeVar("_Kind", bound=str)


def optimizer_findings(path: KeyPath, optimizer: OptimizerSettings) -> Iterator[Finding]:
    """Every mistake in the optimizer of a table, or of the dense tensors, at `path`."""
    yield from _foreign(path, optimizer, optimizer.kind, CONSTANTS)
    yield from _schedule(path, optimizer)
    if optimizer.bad_gradients == "clip" and optimizer.clipvalue is None and optimizer.clipnorm is None:
        uses = tuple((*path, name) for name in (_BAD, "clipvalue", "clipnorm"))
        message = "needs clipvalue or clipnorm: without one, an infinite gradient would be a step of 1e12"
        yield Finding((*path, _BAD), message, uses=uses)


def dense_optimizer_findings(path: KeyPath, optimizer: OptimizerSettings) -> Iterator[Finding]:
    """Every mistake in the optimizer of the dense tensors, at `path`."""
    if optimizer.kind not in DENSE_KINDS:
        message = f"is for the rows of tables; dense tensors take {enumerated(DENSE_KINDS)}"
        yield Finding((*path, "kind"), message, uses=((*path, "kind"),))
    yield from optimizer_findings(path, optimizer)


def _schedule(path: KeyPath, optimizer: OptimizerSettings) -> Iterator[Finding]:
    schedule, where = optimizer.schedule, (*path, "schedule")
    if optimizer.kind in UNSCHEDULED_KINDS and not schedule.is_constant:
        message = (
            f"is not for kind {optimizer.kind}, whose weights are proportional to the learning rate; "
            "its steps become smaller by themselves, as learning_rate_power says"
        )
        yield Finding(where, message, uses=((*path, "kind"), where), is_key=True)
        return
    yield from _foreign(where, schedule, schedule.kind, SCHEDULE_CONSTANTS)
    if schedule.warmup_start and not schedule.warmup_steps:
        uses = tuple((*where, name) for name in ("warmup_start", "warmup_steps"))
        yield Finding(uses[0], "is not used: warmup_steps is 0", uses=uses, is_key=True)
    if schedule.kind == "exponential" and schedule.decay_rate > 1:
        uses = tuple((*where, name) for name in ("decay_rate", "kind"))
        yield Finding(uses[0], "must be at most 1: the learning rate would grow without end", uses=uses)


def _foreign(
    path: KeyPath, settings: BaseModel, kind: _Kind, constants: Mapping[_Kind, tuple[str, ...]]
) -> Iterator[Finding]:
    """The constants that were changed although `kind` has none of that name."""
    for name in dict.fromkeys(name for names in constants.values() for name in names):
        changed = getattr(settings, name) != type(settings).model_fields[name].default
        if changed and name not in constants[kind]:
            kinds = enumerated(each for each, names in constants.items() if name in names)
            message = f"is of {kinds}; kind {kind} has no such constant"
            yield Finding((*path, name), message, uses=((*path, "kind"), (*path, name)), is_key=True)
