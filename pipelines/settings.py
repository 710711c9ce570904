"""The `kafka` and `joiner` blocks of a job file, and what of the whole file the joiner is given."""

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from pipelines.schema import SOURCE_PATTERN, Block, ExampleSchema

Rate = Annotated[float, Field(gt=0, le=1)]
SourceName = Annotated[str, Field(pattern=SOURCE_PATTERN)]
LONGEST_TRANSACTION_S: Final = 24 * 86_400
"""Kafka counts its ms in 31 bits."""


class TopicSettings(Block):
    """The names of the five topics (`docs/formats.md`)."""

    features: str = "features"
    actions: str = "actions"
    examples: str = "examples"
    dead_letters: str = "dead-letters"
    updates: str = "updates"


class KafkaSettings(Block):
    """Where the broker is and how its clients log in."""

    bootstrap: str = "embedded"
    """host:port[,host:port…]; `embedded`: a broker of the run's own."""
    topics: TopicSettings = TopicSettings()
    partitions: int = Field(default=2, ge=1)
    """Partitions of the topics that Freshet creates."""
    client: dict[str, str] = Field(default_factory=dict)
    """Properties for every client, by Kafka's own names (`security.protocol`, `sasl.mechanism`, …)."""
    max_message_bytes: int = Field(default=16 << 20, ge=1 << 16)
    """The longest message that the topics take (`max.message.bytes`)."""
    transaction_timeout_s: int = Field(default=900, ge=60, le=LONGEST_TRANSACTION_S)
    """A joiner that dies in the midst of a commit, and is away for longer, loses these examples.

    By default the most that a broker allows by default (`transaction.max.timeout.ms`). On the embedded one it
    is always 24 days.
    """


class NegativeSettings(Block):
    """Which share of the negatives is kept; positives always are."""

    rate: Rate = 1.0
    by: dict[SourceName, dict[str, Rate]] = Field(default_factory=dict)
    """Rates by the value of a field (`item.category: {3: 0.5}`); the first that lists its value decides."""
    max_per_request: int | None = Field(default=None, ge=1)
    """Of one request no more are kept."""


class PoolSettings(Block):
    """Negatives drawn from the items shown of late, for retrieval models. Of engine `jvm` only."""

    negatives: int = Field(default=4, ge=1, le=256)
    """Drawn for each positive."""
    size: int = Field(default=10_000, ge=1, le=100_000)
    """Impressions that each subtask remembers; the more often shown, the more likely drawn.

    Each checkpoint writes all of them, some hundred bytes each.
    """
    label: str | None = None
    """The label whose positives get them; None: the first."""


class InputSettings(Block):
    """What a backfill joins, from its beginning to its end; then the job ends."""

    kind: Literal["kafka", "files"]
    """`kafka`: both topics; `files`: raw events in files."""
    features: str | None = None
    """Of `files`: a file, a folder, or a URL of either on any file system that Flink knows."""
    actions: str | None = None
    """Likewise."""
    format: Literal["json", "parquet"] = "json"
    """Of `files`: an event per line, as JSON, or per row, in the column `value`."""
    ahead_s: float = Field(default=600.0, gt=0)
    """So far in event time, plus what it reads in 0.2 s, one input may be ahead: its events wait."""
    ends: dict[Literal["features", "actions"], tuple[int, ...]] | None = None
    """Of `kafka`: by partition, the offset behind the last event; None: as they are at the start."""
    append: bool = False
    """Write to `kafka.topics.examples` though it has messages already."""


class ArchiveSettings(Block):
    """The examples as Parquet files: a Flink job beside the joiner."""

    path: str | None = None
    """A folder, or a URL of any file system that Flink knows (`s3://…`, `hdfs://…`); None: RUN/archive."""
    checkpoint_interval_s: float = Field(default=60.0, ge=0.1)
    """What dies repeats so much of its work; nothing comes twice."""
    compact_every: int = Field(default=10, ge=1)
    """The files of so many checkpoints become one, for each hour of event time; then they can be read."""
    file_bytes: int = Field(default=128 << 20, ge=1 << 20)
    """So much waiting for one hour becomes a file at once."""
    parallelism: int = Field(default=1, ge=1)


class JoinerSettings(Block):
    """The `joiner` block. Windows stand with their labels, in `schema.labels`."""

    engine: Literal["jvm", "python"] = "jvm"
    """`jvm`: the join in Java; `python`: the same rules in Python, slower, for rules of one's own."""
    input: InputSettings | None = None
    """None: the topics, for ever. Else a backfill; of engine `jvm` only."""
    negatives: NegativeSettings = NegativeSettings()
    pool: PoolSettings | None = None
    archive: ArchiveSettings | None = None
    """None: examples are in Kafka only."""
    out_of_order_s: float = Field(default=2.0, ge=0, le=900)
    """How far events of one partition may be out of order: the watermark trails by so much."""
    idle_s: float = Field(default=30.0, gt=0)
    """A partition silent for so long no longer holds the watermark back."""
    max_past_s: float = Field(default=7 * 86_400.0, gt=0)
    """An event so much older than its Kafka record is refused (dead letter `timestamp`)."""
    max_future_s: float = Field(default=600.0, gt=0)
    """An event so much ahead of its Kafka record is refused (dead letter `timestamp`).

    One that is less ahead is taken, but moves event time only `out_of_order_s` ahead of its record, so that a
    fast clock makes nobody else late; heartbeats move it as far as they say.
    """
    max_event_bytes: int = Field(default=1 << 20, ge=1024)
    """A longer event is refused (dead letter `too-large`)."""
    checkpoint_interval_ms: int = Field(default=1000, ge=100)
    parallelism: int = Field(default=1, ge=1)
    task_managers: int = Field(default=1, ge=1)
    """Of the embedded Flink cluster, one slot each; those of an archive come on top."""
    flink_address: str | None = None
    """host:port of a Flink cluster's REST endpoint; None: the embedded cluster."""
    flink_options: dict[str, str] = Field(default_factory=dict)
    """More of Flink's configuration, by its own names (`s3.endpoint`, `restart-strategy.type`, …)."""
    state_url: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9+.-]*:/.*[^/]$")
    """Checkpoints go below URL/checkpoints, savepoints below URL/savepoints (`s3://…`, `hdfs://…`, `file://…`).

    The embedded cluster's go into a folder of the run's own at URL. None: into the run directory; on a Flink
    cluster of one's own, where its configuration says.
    """
    restore_from: str | None = None
    """A checkpoint or savepoint to start from, on a Flink cluster of one's own (`flink run -s`)."""
    metrics_addresses: tuple[str, ...] = ()
    """Prometheus endpoints of the Flink processes."""

    @property
    def all_task_managers(self) -> int:
        """Of the embedded cluster."""
        return self.task_managers + (self.archive.parallelism if self.archive else 0)


def member_name(job_name: str, joiner: JoinerSettings) -> str:
    """The joiner's consumer group: a backfill keeps off that of the live joiner."""
    return f"{job_name}-backfill" if joiner.input else f"{job_name}-joiner"


def joiner_name(job_name: str, joiner: JoinerSettings) -> str:
    """What the Flink job of the joiner is called: whoever looks for the live one finds no backfill."""
    return member_name(job_name, joiner) if joiner.input else job_name


def archive_name(job_name: str) -> str:
    """What the Flink job of the archive is called, beside a joiner that is called `job_name`."""
    return f"{job_name}-archive"


class JoinSchema(ExampleSchema):
    """The `schema` block without what only the model needs."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class JoinJob(Block):
    """What `pipelines.main` reads: a job file as JSON; blocks of other stages may stand in it too."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    name: str
    seed: int = 1
    kafka: KafkaSettings
    schema_: JoinSchema = Field(alias="schema")
    joiner: JoinerSettings = JoinerSettings()
