"""The job file as types: one recommender, top to bottom.

Each stage owns the settings of its blocks; this is their sum. What is wrong with a file is found by
`jobs.validation.meaning`, which knows the lines; this module only says what is right.
"""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from model.settings import ModelSettings, TrainerSettings
from pipelines.schema import Block, ExampleSchema
from pipelines.settings import JoinerSettings, KafkaSettings
from ps.settings import ShardSettings, SnapshotSettings, SyncSettings, TableSettings
from serving.settings import ServingSettings


class SchemaSettings(ExampleSchema):
    """The `schema` block: features, labels, and the tables behind the features."""

    tables: dict[str, TableSettings] = Field(default_factory=dict)
    default_table: TableSettings = TableSettings()
    """Settings of every table that `tables` does not name."""


def _without_times(value: object) -> object:
    return value[:-1] if isinstance(value, str) and re.fullmatch(r"[0-9.]+x", value) else value


Speed = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["max"],
    BeforeValidator(_without_times),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?x$"},
                {"const": "max"},
            ]
        }
    ),
]


class TrafficSettings(Block):
    """The `traffic` block: who produces events. `none`: the user's own producers."""

    kind: Literal["none", "simulated", "replay"] = "none"
    seed: int = 1
    metrics_address: str | None = None
    # simulated
    requests_per_s: float = Field(default=50.0, gt=0)
    users: int = Field(default=2000, ge=1)
    items: int = Field(default=1000, ge=2)
    candidates: int = Field(default=8, ge=1)
    """Items in each request."""
    action_delay_s: float = Field(default=2.0, gt=0)
    """Mean delay of a reaction; nearly all come within the label's window."""
    # replay
    path: str | None = None
    """A KuaiRand directory, or a ratings file (`userId,movieId,rating,timestamp` or MovieTweetings)."""
    speed: Speed = "max"
    """Event seconds per second (`100` or `100x`), or `max`: as fast as the loop closes."""
    freeze_after: float = Field(default=0.5, ge=0, le=1)
    """Replay: the share of its impressions after which the comparison model is frozen; 1: never."""
    freeze_after_s: float = Field(default=30.0, ge=0)
    """Simulated: the seconds of traffic, from the run's start, after which the comparison model is frozen."""


class DashboardSettings(Block):
    """The `dashboard` block."""

    address: str | None = None
    """host:port; None: a free port on loopback."""


class PodSettings(Block):
    """What one pod asks for."""

    cpu: float = Field(default=1.0, gt=0)
    memory: str = Field(default="2g", pattern=r"^[1-9][0-9]*[mg]$")
    """Of the whole Flink process: `1600m`, `4g`."""


class KubernetesSettings(Block):
    """The `kubernetes` block: what `freshet k8s` writes into the manifest of the joiner."""

    image: str | None = None
    """Flink, Python with Freshet's packages, `pipelines/` and the jars (`docs/clusters.md`)."""
    namespace: str | None = None
    service_account: str = "flink"
    secret: str | None = None
    """The Secret that has the variables of `kafka.client`, by their names; None: NAME-joiner."""
    variables: tuple[str, ...] = ()
    """More of its entries that pods get as environment variables (`AWS_SECRET_ACCESS_KEY`)."""
    flink_version: str = Field(default="v2_3", pattern=r"^v[0-9]+_[0-9]+$")
    """As the operator names it."""
    job_manager: PodSettings = PodSettings(memory="1600m")
    task_manager: PodSettings = PodSettings()


class Job(Block):
    """One recommender."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    seed: int = 1
    kafka: KafkaSettings = KafkaSettings()
    schema_: SchemaSettings = Field(alias="schema")
    joiner: JoinerSettings = JoinerSettings()
    model: ModelSettings = ModelSettings()
    trainer: TrainerSettings = TrainerSettings()
    ps: ShardSettings = ShardSettings()
    sync: SyncSettings = SyncSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    serving: ServingSettings = ServingSettings()
    traffic: TrafficSettings = TrafficSettings()
    dashboard: DashboardSettings = DashboardSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
