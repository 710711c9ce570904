"""The blocks of a job file that concern the shards: tables, optimizers, `ps`, `sync`, `snapshots`."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

InitializerKind = Literal["zeros", "constant", "uniform", "normal", "truncated_normal"]
OptimizerKind = Literal[
    "sgd",
    "momentum",
    "adagrad",
    "rowwise_adagrad",
    "adam",
    "adamw",
    "rmsprop",
    "adadelta",
    "ftrl",
    "group_ftrl",
]
ScheduleKind = Literal["constant", "exponential", "inverse_time", "polynomial", "cosine"]
BadGradients = Literal["refuse", "skip", "clip"]
WhenFull = Literal["oldest", "least_frequent", "refuse"]

CONSTANTS: Final[Mapping[OptimizerKind, tuple[str, ...]]] = {
    "sgd": (),
    "momentum": ("momentum", "nesterov"),
    "adagrad": ("initial_accumulator", "epsilon"),
    "rowwise_adagrad": ("initial_accumulator", "epsilon"),
    "adam": ("beta_1", "beta_2", "epsilon"),
    "adamw": ("beta_1", "beta_2", "epsilon", "weight_decay"),
    "rmsprop": ("rho", "epsilon"),
    "adadelta": ("rho", "epsilon"),
    "ftrl": ("initial_accumulator", "learning_rate_power", "beta", "l2_shrinkage"),
    "group_ftrl": ("initial_accumulator", "learning_rate_power", "beta", "l2_shrinkage", "l21"),
}
"""The constants that not every kind has, by the kinds that have them."""
STATE: Final[Mapping[OptimizerKind, tuple[str, ...]]] = {
    "sgd": (),
    "momentum": ("momentum",),
    "adagrad": ("accumulator",),
    "rowwise_adagrad": ("row_accumulator",),
    "adam": ("m", "v", "steps"),
    "adamw": ("m", "v", "steps"),
    "rmsprop": ("velocity",),
    "adadelta": ("accumulated_grad", "accumulated_delta"),
    "ftrl": ("accumulator", "linear"),
    "group_ftrl": ("accumulator", "linear"),
}
"""What follows the embedding in a row: as many floats each, but one for `steps` and `row_accumulator`."""
DENSE_KINDS: Final = tuple(kind for kind in STATE if kind not in ("rowwise_adagrad", "group_ftrl"))
"""Optimizers that need no rows."""
UNSCHEDULED_KINDS: Final = ("ftrl", "group_ftrl")
"""Their weights are proportional to the learning rate: they would change when it does."""
SCHEDULE_CONSTANTS: Final[Mapping[ScheduleKind, tuple[str, ...]]] = {
    "constant": (),
    "exponential": ("decay_steps", "decay_rate", "staircase"),
    "inverse_time": ("decay_steps", "decay_rate", "staircase"),
    "polynomial": ("decay_steps", "end_learning_rate", "power"),
    "cosine": ("decay_steps", "alpha"),
}
"""The constants of each decay."""
LEAST_MEMORY_BYTES: Final = 64 << 20
"""Of a shard's part of a table with a tier on disk."""
RowFormat = Literal["float32", "float16", "int8"]
"""How rows without optimizer state are kept. See `ps.table.EmbeddingTable`."""


class Block(BaseModel):
    """A block of the job file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class InitializerSettings(Block):
    """The initial value of a row, a pure function of (table seed, id).

    `scale` is the constant, the half width or the deviation.
    """

    kind: InitializerKind = "uniform"
    scale: float = 0.05


class ScheduleSettings(Block):
    """How the learning rate follows the step: a warm-up, then a decay of `keras.optimizers.schedules`.

    The step is the number of pushes that the shard has applied before.
    """

    kind: ScheduleKind = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    """So many steps go in a line from `warmup_start` to `learning_rate`; then the decay begins at step 0."""
    warmup_start: float = Field(default=0.0, ge=0)
    decay_steps: int = Field(default=100_000, ge=1)
    decay_rate: float = Field(default=0.96, gt=0)
    staircase: bool = False
    """The decay goes down once every `decay_steps`, not a little with each step."""
    end_learning_rate: float = Field(default=0.0001, ge=0)
    power: float = Field(default=1.0, gt=0)
    """Of polynomial decay; 1: in a line."""
    alpha: float = Field(default=0.0, ge=0)
    """The share of the learning rate that cosine decay ends at."""

    @property
    def is_constant(self) -> bool:
        """Whether every step has the same learning rate."""
        return self.kind == "constant" and self.warmup_steps == 0


class OptimizerSettings(Block):
    """An optimizer and its constants, named as in Keras; `CONSTANTS` says which kind has which.

    `rowwise_adagrad` keeps one accumulator for each row, of its gradient's mean square (Naumov et al., DLRM,
    2019). `adam` counts each row's own steps (lazy). `group_ftrl` adds the group lasso over a row to `ftrl`
    (Ni et al., CIKM 2019; Yue et al., ECML 2021): rows that matter little become zero as a whole.
    """

    kind: OptimizerKind = "adagrad"
    learning_rate: float = Field(default=0.05, gt=0)
    schedule: ScheduleSettings = ScheduleSettings()
    momentum: float = Field(default=0.9, ge=0, le=1)
    nesterov: bool = False
    initial_accumulator: float = Field(default=0.1, ge=0)
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    rho: float = Field(default=0.9, ge=0, lt=1)
    epsilon: float = Field(default=1e-7, ge=1e-30)
    weight_decay: float = Field(default=0.004, ge=0)
    """AdamW: each step takes away this share, times the learning rate, of the weight."""
    learning_rate_power: float = Field(default=-0.5, ge=-1, le=0)
    beta: float = Field(default=0.0, ge=0)
    l1: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    """Penalties on the loss, `l1` Σ|w| + `l2` Σw² (keras.regularizers.L1L2); of FTRL its own strengths."""
    l2_shrinkage: float = Field(default=0.0, ge=0)
    l21: float = Field(default=0.0, ge=0)
    """Of the group lasso; a row's norm counts √dim times."""
    clipvalue: float | None = Field(default=None, gt=0)
    """Each number of a gradient, penalties included, is clipped to ± this; before `clipnorm`."""
    clipnorm: float | None = Field(default=None, gt=0)
    """A row's gradient, summed over the batch, or a dense tensor's, is scaled down to this norm."""
    bad_gradients: BadGradients = "refuse"
    """What to do with one that is NaN, infinite or beyond 1e12: refuse the push; skip the row, or the dense
    tensor, and count it; or clip it (NaN to 0), for `clipvalue` or `clipnorm` to make sense of, and count."""


class AdmissionSettings(Block):
    """When an id gets a row: after `min_count` sightings within `window_s`, or by chance at each sighting.

    An id is sighted once by each push that has a gradient for it. Until it is admitted its gradients are
    dropped, and it reads as its initial value. By default the first sighting is enough.
    """

    min_count: int = Field(default=1, ge=1, le=65_535)
    window_s: float = Field(default=86_400.0, ge=1, le=1e9)
    """Of event time. Sightings within half of it always count together, those further apart never."""
    tracked_ids: int = Field(default=1_000_000, ge=1, le=500_000_000)
    """Ids without a row that are counted at a time, in all shards together; 3.9 bytes each at once."""
    probability: float = Field(default=1.0, gt=0, le=1)


class ExpirySettings(Block):
    """When a row goes: `after_s` of event time since its last update; None: never."""

    after_s: float | None = Field(default=None, ge=1, le=1e10)


class DiskSettings(Block):
    """A tier on disk: rows whose update is longest ago go there, and come back when they learn."""

    memory_bytes: int = Field(ge=1)
    """What the table may take of memory in all shards together, of each at least 64 MiB."""


class TableSettings(Block):
    """One embedding table. Limits are those of the whole table; each shard keeps to its share."""

    dim: int = Field(default=16, ge=1, le=1024)
    initializer: InitializerSettings = InitializerSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    admission: AdmissionSettings = AdmissionSettings()
    expiry: ExpirySettings = ExpirySettings()
    max_rows: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)
    """Of memory, the list of what changed since the last publication not counted; not beside `disk`."""
    when_full: WhenFull = "oldest"
    """What makes room: the rows with the oldest update, those with the fewest updates, or nothing."""
    disk: DiskSettings | None = None
    """Of the shards; replicas keep all rows in memory. None: so do the shards."""


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
    """In local time; and 1, 2, 4, 8, … minutes after a shard's start, so that a new model is soon served."""


class SnapshotSettings(Block):
    """The `snapshots` block: where snapshots go and how often; any pyarrow file system (`file:///…`, `s3://…`)."""

    url: str | None = None
    """None: the run directory."""
    interval_s: float = Field(default=60.0, gt=0)
    keep: int = Field(default=3, ge=1)
