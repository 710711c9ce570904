"""Learning rates: pure functions of the settings and the step, so that a restart goes on where it was."""

import math

import numpy as np

from ps.settings import OptimizerSettings, ScheduleSettings

_HAVE_NO_SCHEDULE = ("ftrl", "group_ftrl")


def takes_schedule(optimizer: OptimizerSettings) -> bool:
    """Whether the learning rate may change: FTRL's weights are proportional to it and would change with it."""
    return optimizer.kind not in _HAVE_NO_SCHEDULE


def is_constant(schedule: ScheduleSettings) -> bool:
    """Whether every step has the same learning rate."""
    return schedule.kind == "constant" and schedule.warmup_steps == 0


def learning_rate(optimizer: OptimizerSettings, step: int) -> float:
    """The learning rate of a step, counted from 0: a float32's value.

    Raises ValueError for a schedule where there can't be one. Rounding hides the last bits of the double, in
    which C libraries differ.
    """
    schedule = optimizer.schedule
    if is_constant(schedule):
        return float(np.float32(optimizer.learning_rate))
    if not takes_schedule(optimizer):
        raise ValueError(f"kind {optimizer.kind} takes no schedule: its weights go with its learning rate")
    if step < schedule.warmup_steps:
        rise = (optimizer.learning_rate - schedule.warmup_start) * step / schedule.warmup_steps
        return float(np.float32(schedule.warmup_start + rise))
    return float(np.float32(_decayed(optimizer.learning_rate, schedule, step - schedule.warmup_steps)))


def _decayed(rate: float, schedule: ScheduleSettings, step: int) -> float:
    """The formulas of keras.optimizers.schedules."""
    periods = step / schedule.decay_steps
    done = min(periods, 1.0)
    if schedule.staircase:
        periods = math.floor(periods)
    match schedule.kind:
        case "constant":
            return rate
        case "exponential":
            return rate * schedule.decay_rate**periods
        case "inverse_time":
            return rate / (1.0 + schedule.decay_rate * periods)
        case "polynomial":
            end = schedule.end_learning_rate
            return (rate - end) * (1.0 - done) ** schedule.power + end
        case "cosine":
            cosine = 0.5 * (1.0 + math.cos(math.pi * done))
            return rate * ((1.0 - schedule.alpha) * cosine + schedule.alpha)
