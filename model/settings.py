"""The `model` and `trainer` blocks of a job file."""

from typing import Final, Literal

from pydantic import Field

from pipelines.schema import Block
from ps.settings import OptimizerSettings

MAX_LABEL: Final = 1e9
"""A label beyond this teaches nothing: shards refuse gradients beyond 1e12, and a message may hold many."""


class ModelSettings(Block):
    """The `model` block: the network over the looked-up rows."""

    kind: Literal["deepfm"] = "deepfm"
    hidden: tuple[int, ...] = (256, 128, 64)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    l2: float = Field(default=0.0, ge=0)
    optimizer: OptimizerSettings = OptimizerSettings(kind="adam", learning_rate=0.001)
    """Of the dense tensors."""


class TrainerSettings(Block):
    """The `trainer` block: batches, workers, and the window of the progressive metrics."""

    workers: int = Field(default=1, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    max_wait_ms: int = Field(default=100, ge=0)
    """A batch that is not full is learnt after this long."""
    archive: str | None = None
    """An archive of `examples`, a folder or a URL: what the topic no longer has is learnt from there.

    None: learning begins with what the topic has.
    """
    metrics_window: int = Field(default=20_000, ge=100)
    """Examples over which AUC and log loss are computed, of those whose label has been settled."""
    metrics_addresses: tuple[str, ...] = ()
