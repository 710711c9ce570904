"""Learning rates: pure functions of the settings and the step, so that a restart goes on where it was."""

import math

import numpy as np

from ps.settings import UNSCHEDULED_KINDS, OptimizerSettings, ScheduleSettings


def check_schedule(optimizer: OptimizerSettings) -> None:
    """Raise ValueError for a schedule where there can't be one."""
    if optimizer.kind in UNSCHEDULED_KINDS and not optimizer.schedule.is_constant:
        raise ValueError(f"kind {optimizer.kind} takes no schedule: its weights go with its learning rate")


def learning_rate(optimizer: OptimizerSettings, step: int) -> float:
    """The learning rate of a step, counted from 0: a float32's value.

    Rounding hides the last bits of the double, in which C libraries differ.
    """
    schedule = optimizer.schedule
    if schedule.is_constant:
        return float(np.float32(optimizer.learning_rate))
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
            return rate * math.pow(schedule.decay_rate, periods)
        case "inverse_time":
            return rate / (1.0 + schedule.decay_rate * periods)
        case "polynomial":
            end = schedule.end_learning_rate
            return (rate - end) * math.pow(1.0 - done, schedule.power) + end
        case "cosine":
            cosine = 0.5 * (1.0 + math.cos(math.pi * done))
            return rate * ((1.0 - schedule.alpha) * cosine + schedule.alpha)
