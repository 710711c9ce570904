"""Dense tensors by name, each with its optimizer's state: the part of a model that every example uses."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from ps.arrays import Float32
from ps.settings import OptimizerSettings

_STATE_NAMES: Final = {"sgd": (), "adagrad": ("accumulator",), "adam": ("m", "v", "steps")}


class DenseTensors:
    """Named float32 tensors and one optimizer for all of them.

    Not thread-safe, but for `values`: a step replaces arrays and never writes into one that it has given out.
    """

    def __init__(self, optimizer: OptimizerSettings) -> None:
        self.optimizer = optimizer
        self.values: dict[str, Float32] = {}
        self._state: dict[str, dict[str, Float32]] = {}

    def initialize(self, tensors: Mapping[str, Float32]) -> bool:
        """Take those of `tensors` whose names are new: the first caller wins. True if there was one.

        Raises ValueError, with nothing changed, for a known name with another shape or a value not finite.
        """
        for name, tensor in tensors.items():
            if name in self.values:
                self._check_shape(name, tensor)
            elif not np.isfinite(tensor).all():
                raise ValueError(f"dense tensor {name!r}: an initial value is NaN or infinite")
        new = {name: np.array(t, np.float32) for name, t in tensors.items() if name not in self.values}
        self._state |= {name: self._initial_state(tensor) for name, tensor in new.items()}
        self.values = self.values | new
        return bool(new)

    def check_gradients(self, gradients: Mapping[str, Float32]) -> None:
        """Raise ValueError unless each of `gradients` has a tensor of its shape."""
        for name, gradient in gradients.items():
            if name not in self.values:
                raise ValueError(f"dense tensor {name!r} is unknown: initialize_dense comes first")
            self._check_shape(name, gradient)

    def apply_gradients(self, gradients: Mapping[str, Float32]) -> None:
        """One optimizer step for each tensor that has a gradient; `check_gradients` comes first."""
        self.values = self.values | {name: self._step(name, g) for name, g in gradients.items()}

    def state(self) -> dict[str, dict[str, Float32]]:
        """A copy of the optimizer's state: by tensor, then `accumulator`, or `m`, `v`, `steps`."""
        return {name: {k: v.copy() for k, v in state.items()} for name, state in self._state.items()}

    def restore(self, values: Mapping[str, Float32], state: Mapping[str, Mapping[str, Float32]]) -> None:
        """Replace everything. Raises ValueError when the state is not this optimizer's."""
        for name in values:
            if set(state.get(name, {})) != set(_STATE_NAMES[self.optimizer.kind]):
                raise ValueError(f"dense tensor {name!r}: its state is not that of {self.optimizer.kind}")
        self._state = {name: {k: v.copy() for k, v in state.get(name, {}).items()} for name in values}
        self.values = dict(values)

    def _check_shape(self, name: str, tensor: Float32) -> None:
        if tensor.shape != self.values[name].shape:
            raise ValueError(
                f"dense tensor {name!r} has shape {list(self.values[name].shape)}, not {list(tensor.shape)}"
            )

    def _initial_state(self, tensor: Float32) -> dict[str, Float32]:
        match self.optimizer.kind:
            case "sgd":
                return {}
            case "adagrad":
                return {"accumulator": np.full_like(tensor, self.optimizer.initial_accumulator)}
            case "adam":
                steps = np.zeros((), np.float32)
                return {"m": np.zeros_like(tensor), "v": np.zeros_like(tensor), "steps": steps}

    def _step(self, name: str, gradient: Float32) -> Float32:
        value, state, o = self.values[name], self._state[name], self.optimizer
        g = gradient + np.float32(2 * o.l2) * value if o.l2 else gradient
        match o.kind:
            case "sgd":
                decrease = np.float32(o.learning_rate) * g
            case "adagrad":
                decrease = _adagrad(o, state["accumulator"], g)
            case "adam":
                decrease = _adam(o, state, g)
        return np.asarray(value - decrease, np.float32)


def _adagrad(o: OptimizerSettings, accumulator: Float32, g: Float32) -> Float32:
    """The decrease; `accumulator` grows in place."""
    accumulator += g * g
    step: Float32 = np.float32(o.learning_rate) * g / np.sqrt(accumulator + np.float32(o.epsilon))
    return step


def _adam(o: OptimizerSettings, state: dict[str, Float32], g: Float32) -> Float32:
    """The decrease; `state` changes in place."""
    m, v, steps = state["m"], state["v"], state["steps"]
    steps += 1
    t = float(steps)
    m += (g - m) * np.float32(1 - o.beta_1)
    v += (g * g - v) * np.float32(1 - o.beta_2)
    rate = o.learning_rate * float(np.sqrt(1 - o.beta_2**t) / (1 - o.beta_1**t))
    step: Float32 = np.float32(rate) * m / (np.sqrt(v) + np.float32(o.epsilon))
    return step
