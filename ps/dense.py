"""Dense tensors by name, each with its optimizer's state: the part of a model that every example uses."""

from collections.abc import Mapping

import numpy as np

from ps import _core
from ps.arrays import Float32
from ps.optimizer import native
from ps.push import MAX_GRADIENT, is_sane
from ps.schedules import check_schedule, learning_rate
from ps.settings import DENSE_KINDS, STATE, OptimizerSettings


class DenseTensors:
    """Named float32 tensors and one optimizer for all of them; a tensor is a row of the native optimizers.

    Not thread-safe, but for `values`: a step replaces arrays and never writes into one that it has given out.
    """

    def __init__(self, optimizer: OptimizerSettings) -> None:
        """Raises ValueError for an optimizer of rows, or a schedule where there can't be one."""
        check_schedule(optimizer)
        if optimizer.kind not in DENSE_KINDS:
            raise ValueError(f"kind {optimizer.kind} is for the rows of tables, not for dense tensors")
        self.optimizer = optimizer
        self.values: dict[str, Float32] = {}
        self.skipped = 0
        """Tensors left out so far because of a bad gradient, once for each push that had one."""
        self.clipped = 0
        """Tensors whose bad gradient was clipped so far."""
        self._rows: dict[str, Float32] = {}
        self._native: dict[str, _core.Optimizer] = {}

    def initialize(self, tensors: Mapping[str, Float32]) -> bool:
        """Take those of `tensors` whose names are new: the first caller wins. True if there was one.

        Raises ValueError, with nothing changed, for a known name with another shape or a value not finite.
        """
        for name, tensor in tensors.items():
            if name in self.values:
                self._check_shape(name, tensor)
            elif not np.isfinite(tensor).all():
                raise ValueError(f"dense tensor {name!r}: an initial value is NaN or infinite")
        new = {name: np.asarray(t, np.float32) for name, t in tensors.items() if name not in self.values}
        for name, tensor in new.items():
            optimizer = native(self.optimizer, tensor.size)
            row = np.empty(tensor.size + optimizer.state_floats, np.float32)
            row[: tensor.size] = tensor.ravel()
            optimizer.initialize_state(row[tensor.size :])
            self._native[name] = optimizer
            self._rows[name] = row
        self.values = self.values | {n: self._rows[n][: t.size].reshape(t.shape) for n, t in new.items()}
        return bool(new)

    def check_gradients(self, gradients: Mapping[str, Float32]) -> None:
        """Raise ValueError unless each of `gradients` has a tensor of its shape."""
        for name, gradient in gradients.items():
            if name not in self.values:
                raise ValueError(f"dense tensor {name!r} is unknown: initialize_dense comes first")
            self._check_shape(name, gradient)

    def apply_gradients(self, gradients: Mapping[str, Float32], step: int = 0) -> None:
        """One optimizer step for each tensor that has a gradient; `check_gradients` comes first.

        `step`, from 0, decides the learning rate where there is a schedule. A bad gradient is skipped or
        clipped as `bad_gradients` says; `Push.check` refuses it before.
        """
        rate = learning_rate(self.optimizer, step)
        stepped = {name: self._step(name, gradient, rate) for name, gradient in gradients.items()}
        self.values = self.values | stepped

    def state(self) -> dict[str, dict[str, Float32]]:
        """A copy of the optimizer's state: by tensor, then part (`ps.settings.STATE`)."""
        return {name: self._parts(name) for name in self.values}

    def restore(self, values: Mapping[str, Float32], state: Mapping[str, Mapping[str, Float32]]) -> None:
        """Replace everything. Raises ValueError when the state is not this optimizer's."""
        for name in values:
            if set(state.get(name, {})) != set(STATE[self.optimizer.kind]):
                raise ValueError(f"dense tensor {name!r}: its state is not that of {self.optimizer.kind}")
        self.values, self._rows, self._native = {}, {}, {}
        self.initialize(values)
        for name, row in self._rows.items():
            parts = [state[name][part].ravel() for part in STATE[self.optimizer.kind]]
            row[values[name].size :] = np.concatenate([np.empty(0, np.float32), *parts])

    def _check_shape(self, name: str, tensor: Float32) -> None:
        if tensor.shape != self.values[name].shape:
            raise ValueError(
                f"dense tensor {name!r} has shape {list(self.values[name].shape)}, not {list(tensor.shape)}"
            )

    def _parts(self, name: str) -> dict[str, Float32]:
        value, state = self.values[name], self._rows[name][self.values[name].size :]
        parts = {}
        for part in STATE[self.optimizer.kind]:
            shape = () if part == "steps" else value.shape
            size = 1 if part == "steps" else value.size
            parts[part], state = state[:size].reshape(shape).copy(), state[size:]
        return parts

    def _step(self, name: str, gradient: Float32, rate: float) -> Float32:
        value = self.values[name]
        sane = self._sane(gradient)
        if sane is None:
            return value
        row = self._rows[name].copy()
        self._native[name].step(row, np.ascontiguousarray(sane, np.float32).ravel(), rate)
        self._rows[name] = row
        return row[: value.size].reshape(value.shape)

    def _sane(self, gradient: Float32) -> Float32 | None:
        """The gradient to learn from; None: none."""
        if is_sane(gradient):
            return gradient
        if self.optimizer.bad_gradients == "skip":
            self.skipped += 1
            return None
        self.clipped += 1
        return np.clip(np.nan_to_num(gradient, nan=0.0), -MAX_GRADIENT, MAX_GRADIENT)
