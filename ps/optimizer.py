"""The native optimizer of the settings of one."""

from ps import _core
from ps.settings import OptimizerKind, OptimizerSettings


def native(optimizer: OptimizerSettings, dim: int) -> _core.Optimizer:
    """For rows of `dim` floats and their state."""
    return _core.Optimizer(native_kind(optimizer.kind), constants(optimizer), dim)


def native_kind(kind: OptimizerKind | None) -> _core.OptimizerKind:
    """The kind by its name; None: of a table without an optimizer."""
    found: _core.OptimizerKind = getattr(_core.OptimizerKind, kind or "none")
    return found


def constants(optimizer: OptimizerSettings) -> _core.OptimizerConstants:
    """All but the kind and the learning rate, which comes with each batch."""
    return _core.OptimizerConstants(
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        initial_accumulator=optimizer.initial_accumulator,
        beta_1=optimizer.beta_1,
        beta_2=optimizer.beta_2,
        rho=optimizer.rho,
        epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        learning_rate_power=optimizer.learning_rate_power,
        beta=optimizer.beta,
        l1=optimizer.l1,
        l2=optimizer.l2,
        l2_shrinkage=optimizer.l2_shrinkage,
        l21=optimizer.l21,
        clipvalue=optimizer.clipvalue or 0.0,
        clipnorm=optimizer.clipnorm or 0.0,
        bad_gradients=getattr(_core.BadGradients, optimizer.bad_gradients),
    )
