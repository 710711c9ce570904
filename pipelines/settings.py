"""The `kafka` and `joiner` blocks of a job file, and what of the whole file the joiner is given."""

from pydantic import ConfigDict, Field

from pipelines.schema import Block, ExampleSchema


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


class NegativeSettings(Block):
    """Which share of the negatives is kept; positives always are."""

    rate: float = Field(default=1.0, gt=0, le=1)


class JoinerSettings(Block):
    """The `joiner` block. Windows stand with their labels, in `schema.labels`."""

    negatives: NegativeSettings = NegativeSettings()
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
    """Of the embedded Flink cluster, one slot each."""
    flink_address: str | None = None
    """host:port of a Flink cluster's REST endpoint; None: the embedded cluster."""
    restore_from: str | None = None
    """A checkpoint or savepoint to start from, on a Flink cluster of one's own (`flink run -s`)."""
    metrics_addresses: tuple[str, ...] = ()
    """Prometheus endpoints of the Flink processes."""


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
