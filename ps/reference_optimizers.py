"""The optimizers' specification: one row, plain NumPy, float32 arithmetic in the native code's order."""

from typing import Final

import numpy as np

from ps.arrays import Float32
from ps.push import MAX_GRADIENT
from ps.settings import STATE, OptimizerSettings

_SINGLE: Final = ("steps", "row_accumulator")
_LANES: Final = 8
_MOST_STEPS: Final = 2.0**24
"""Where counting in float32 ends."""
_f: Final = np.float32


def state_floats(settings: OptimizerSettings, dim: int) -> int:
    """Floats of optimizer state after the embedding."""
    return sum(1 if part in _SINGLE else dim for part in STATE[settings.kind])


def initial_state(settings: OptimizerSettings, dim: int) -> Float32:
    """The state of a new row: accumulators have an initial value, all else is 0."""
    state = np.zeros(state_floats(settings, dim), np.float32)
    if settings.kind == "rowwise_adagrad":
        state[:] = settings.initial_accumulator
    elif settings.kind in ("adagrad", "ftrl", "group_ftrl"):
        state[:dim] = settings.initial_accumulator
    return state


def made_sane(gradient: Float32) -> Float32:
    """NaN becomes 0; the rest is clipped to `MAX_GRADIENT`."""
    most = _f(MAX_GRADIENT)
    return np.clip(np.nan_to_num(gradient, nan=0.0, posinf=np.inf, neginf=-np.inf), -most, most)


def take_step(settings: OptimizerSettings, row: Float32, gradient: Float32, learning_rate: float) -> None:
    """Change `row`, the embedding followed by its state, by one `gradient` `float32[dim]`."""
    dim = len(gradient)
    w, state = row[:dim], row[dim:]
    g = _clipped(settings, _penalised(settings, w, gradient))
    first, second = state[:dim], state[dim : 2 * dim]
    rate, epsilon, rho = _f(learning_rate), _f(settings.epsilon), _f(settings.rho)
    match settings.kind:
        case "sgd":
            w -= rate * g
        case "momentum":
            momentum = _f(settings.momentum)
            state[:] = state * momentum - rate * g
            w += state * momentum - rate * g if settings.nesterov else state
        case "adagrad":
            state += g * g
            w -= rate * g / np.sqrt(state + epsilon)
        case "rowwise_adagrad":
            state += _sum_of_squares(g) / _f(dim)
            w -= rate * g / np.sqrt(state + epsilon)
        case "adam" | "adamw":
            steps = state[2 * dim :]
            steps += _f(1)
            first += (g - first) * (_f(1) - _f(settings.beta_1))
            second += (g * g - second) * (_f(1) - _f(settings.beta_2))
            if settings.kind == "adamw":
                w -= w * (rate * _f(settings.weight_decay))
            w -= first * _adam_rate(settings, learning_rate, steps[0]) / (np.sqrt(second) + epsilon)
        case "rmsprop":
            state[:] = rho * state + (_f(1) - rho) * (g * g)
            w -= rate * g / np.sqrt(state + epsilon)
        case "adadelta":
            first[:] = rho * first + (_f(1) - rho) * (g * g)
            delta = np.sqrt(second + epsilon) * g / np.sqrt(first + epsilon)
            second[:] = rho * second + (_f(1) - rho) * (delta * delta)
            w -= rate * delta
        case "ftrl" | "group_ftrl":
            _ftrl(settings, w, first, second, g, rate)


def _ftrl(
    o: OptimizerSettings, w: Float32, n: Float32, linear: Float32, g: Float32, rate: np.float32
) -> None:
    before = _power(o, n)
    n += g * g
    linear += g + _f(2) * _f(o.l2_shrinkage) * w - (_power(o, n) - before) / rate * w
    beyond = np.clip(linear, -_f(o.l1), _f(o.l1)) - linear
    share = _group_share(o, beyond) if o.kind == "group_ftrl" else _f(1)
    quadratic = _power(o, n) / rate + _f(2) * (_f(o.l2) + _f(o.beta) / (_f(2) * rate))
    w[:] = np.divide(share * beyond, quadratic, out=np.zeros_like(w), where=quadratic > 0)


def _power(o: OptimizerSettings, n: Float32) -> Float32:
    if o.learning_rate_power == -0.5:
        return np.sqrt(n)
    power: Float32 = np.power(n.astype(np.float64), -float(_f(o.learning_rate_power))).astype(np.float32)
    return power


def _group_share(o: OptimizerSettings, beyond: Float32) -> np.float32:
    norm, bound = np.sqrt(_sum_of_squares(beyond)), _f(o.l21) * np.sqrt(_f(len(beyond)))
    return _f(1) - bound / norm if norm > bound else _f(0)


def _penalised(o: OptimizerSettings, w: Float32, g: Float32) -> Float32:
    if o.kind in ("ftrl", "group_ftrl") or not (o.l1 or o.l2):
        return g
    penalised: Float32 = g + _f(o.l1) * np.sign(w) + _f(2) * _f(o.l2) * w
    return penalised


def _clipped(o: OptimizerSettings, g: Float32) -> Float32:
    if o.clipvalue is not None:
        g = np.clip(g, -_f(o.clipvalue), _f(o.clipvalue))
    if o.clipnorm is not None:
        norm = np.sqrt(_sum_of_squares(g))
        g = g * (_f(o.clipnorm) / norm if norm > _f(o.clipnorm) else _f(1))
    return g


def _sum_of_squares(values: Float32) -> np.float32:
    """In eight lanes, as vector instructions add up."""
    padded = np.zeros(-(-len(values) // _LANES) * _LANES, np.float32)
    padded[: len(values)] = values * values
    lanes = np.zeros(_LANES, np.float32)
    for chunk in padded.reshape(-1, _LANES):
        lanes += chunk
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return _f(lanes[0])


def _adam_rate(o: OptimizerSettings, learning_rate: float, steps: np.float32) -> np.float32:
    n = int(np.clip(steps, 1, _MOST_STEPS))
    first, second = (1.0 - _integer_power(float(_f(beta)), n) for beta in (o.beta_1, o.beta_2))
    return _f(learning_rate * (np.sqrt(second) / first))


def _integer_power(base: float, n: int) -> float:
    """By squaring, as the native code does."""
    product = 1.0
    while n:
        if n & 1:
            product *= base
        base *= base
        n >>= 1
    return product
