"""The blocks of a job file that concern the shards: tables, optimizers, `ps`, `sync`, `snapshots`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

InitializerKind = Literal["zeros", "constant", "uniform", "normal", "truncated_normal"]
OptimizerKind = Literal["sgd", "adagrad", "adam"]
RowFormat = Literal["float32", "float16", "int8"]
"""How rows without optimizer state are kept. See `ps.table.EmbeddingTable`."""


class Block(BaseModel):
    """A block of the job file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InitializerSettings(Block):
    """The initial value of a row, a pure function of (table seed, id).

    `scale` is the constant, the half width or the deviation.
    """

    kind: InitializerKind = "uniform"
    scale: float = 0.05


class OptimizerSettings(Block):
    """An optimizer and its constants, named as in Keras."""

    kind: OptimizerKind = "adagrad"
    learning_rate: float = Field(default=0.05, gt=0)
    initial_accumulator: float = Field(default=0.1, ge=0)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-7, gt=0)
    l2: float = Field(default=0.0, ge=0)


class TableSettings(Block):
    """One embedding table."""

    dim: int = Field(default=16, ge=1, le=1024)
    initializer: InitializerSettings = InitializerSettings()
    optimizer: OptimizerSettings = OptimizerSettings()


class ShardSettings(Block):
    """The `ps` block: how many shards there are and where."""

    shards: int = Field(default=2, ge=1, le=1024)
    addresses: tuple[str, ...] = ()
    """host:port of every shard in order; empty: the embedded stack picks free ports."""
    metrics_addresses: tuple[str, ...] = ()
    initial_capacity_rows: int = Field(default=1024, ge=1)
    threads: int = Field(default=1, ge=1, le=64)
    """So many work on one batch of a table that has 4,096 ids for each. More pay off on idle cores only."""


class SyncSettings(Block):
    """The `sync` block: when rows and dense tensors go to serving."""

    interval_s: float = Field(default=1.0, gt=0)
    dense_interval_s: float | None = Field(default=None, gt=0)
    """Publish dense tensors this often; None: by `dense_cron`."""
    dense_cron: str = "0 0 * * *"


class SnapshotSettings(Block):
    """The `snapshots` block: where snapshots go and how often; any pyarrow file system (`file:///…`, `s3://…`)."""

    url: str | None = None
    """None: the run directory."""
    interval_s: float = Field(default=60.0, gt=0)
    keep: int = Field(default=3, ge=1)
