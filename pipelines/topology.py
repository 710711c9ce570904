"""The joiner as a Flink job, from the two topics of events to the two of results.

    features ─┐  Table source: raw bytes, metadata, watermark  ┐                        ┌─► examples
              ├─ per partition (JVM)                           ├─ key ─► JoinFunction ──┤
    actions  ─┘                                                ┘        (Python)        └─► dead-letters

Tables stand at both ends because only the Table connector gives Python a record's key, partition, offset and
headers. What runs per record outside `JoinFunction` is Flink's own code. Every operator has a uid, the key
space has 128 groups for ever, both sinks are exactly once: their records are visible to `read_committed`
readers after each checkpoint.

That is engine `python`; its cluster needs the Kafka connector and flink-python on its class path
(`flink-conf/config.yaml`). Engine `jvm`, the default, is the same job in Java (`pipelines/jvm`): its jars go
with the job, and no Python runs on the cluster.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyflink.common import Configuration, Types
from pyflink.common.typeinfo import RowTypeInfo
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from pipelines.join.operator import ARRIVAL_TYPE, OUTPUT_TYPE, JoinFunction
from pipelines.settings import JoinJob, KafkaSettings

MAX_PARALLELISM: Final = 128
"""Key groups. Another number could not read the savepoints of this one."""


def build(env: StreamExecutionEnvironment, job: JoinJob, jars: Iterable[Path] = ()) -> None:
    """Adds the whole job to `env`; `jars`: what it takes along to the cluster."""
    env.set_parallelism(job.joiner.parallelism)
    env.set_max_parallelism(MAX_PARALLELISM)
    env.enable_checkpointing(job.joiner.checkpoint_interval_ms)
    # An operator without a uid would be refused here, instead of losing its state at some later upgrade.
    env.configure(Configuration().set_string("pipeline.auto-generate-uids", "false"))
    add_jars(env, jars)
    if job.joiner.engine == "jvm":
        _build_in_java(env, job)
    else:
        _build_in_python(env, job)


def add_jars(env: StreamExecutionEnvironment, jars: Iterable[Path]) -> None:
    """Has the job take `jars` along to the cluster."""
    if urls := [jar.absolute().as_uri() for jar in jars]:
        env.add_jars(*urls)


def _build_in_java(env: StreamExecutionEnvironment, job: JoinJob) -> None:
    settings = job.model_dump_json(by_alias=True)
    get_gateway().jvm.freshet.join.OnlineJoin.build(env._j_stream_execution_environment, settings)


def _build_in_python(env: StreamExecutionEnvironment, job: JoinJob) -> None:
    tables = StreamTableEnvironment.create(env)
    tables.get_config().set("table.exec.uid.generation", "ALWAYS")
    topics = job.kafka.topics
    arrivals = _arrivals(tables, job, "features", topics.features, "FALSE").union(
        _arrivals(tables, job, "actions", topics.actions, "TRUE")
    )
    joined = _keyed(arrivals).process(JoinFunction(job), OUTPUT_TYPE).name("join").uid("join")
    tables.create_temporary_view("joined", joined)
    _write(tables, job)


def _arrivals(
    tables: StreamTableEnvironment, job: JoinJob, table: str, topic: str, is_action: str
) -> DataStream:
    """The records of a topic as (key, arrival), with its watermark.

    The key is the request id in base64: a text that is no valid Unicode must not reach the bridge to Python.
    A record without one, or too large to look at, has no business with others; it is keyed by its offset.
    """
    _name_operators(tables, table)
    tables.execute_sql(_source(job, table, topic))
    request_id = f"CASE WHEN {_fits(job)} THEN TO_BASE64(JSON_VALUE({_TEXT}, '$.request_id')) END"
    logged_ts_ms = "EXTRACT(EPOCH FROM logged_at) * 1000 + EXTRACT(MILLISECOND FROM logged_at)"
    stream = tables.to_data_stream(
        tables.sql_query(
            f"""SELECT COALESCE({request_id}, '-' || CAST(`offset` AS STRING)) AS id,
                ROW({is_action}, `key`, `value`, `partition`, `offset`, {logged_ts_ms}) AS arrival
                FROM {table}"""
        )
    )
    # As DataStream types: the Python operator knows no others, and they need no conversion on the way to it.
    stream._j_data_stream.getTransformation().setOutputType(_keyed_type().get_java_type_info())
    return stream


_TEXT: Final = "CAST(`value` AS STRING)"
_IS_HEARTBEAT: Final = {
    "features": f"JSON_QUERY({_TEXT}, '$.items') = '[]'",
    "actions": f"JSON_VALUE({_TEXT}, '$.action') = ''",
}


def _source(job: JoinJob, table: str, topic: str) -> str:
    """A source whose watermark follows the `ts` of the events, as far as they can be believed.

    An event without `ts`, with one too far ahead of its record or of the clock, or too large to look at, has
    none: it does not move event time. The same ones become dead letters (`pipelines.join.intake`). One too
    far in the past can't move a watermark anyway.

    One that is ahead within bounds comes from a fast clock. It is believed no further than `out_of_order_s`:
    a watermark that ran ahead of the time of the records would make everybody else late. Heartbeats are
    believed, since they are there to close windows.
    """
    fits = _fits(job)
    out_of_order_s, max_future_s = job.joiner.out_of_order_s, job.joiner.max_future_s
    ts = f"TO_TIMESTAMP_LTZ(TRY_CAST(JSON_VALUE({_TEXT}, '$.ts') AS BIGINT), 3)"
    now = "LEAST(logged_at, CURRENT_TIMESTAMP)"
    credible = f"CAST({now} + {_seconds(min(out_of_order_s, max_future_s))} AS TIMESTAMP_LTZ(3))"
    believed = f"CASE WHEN {_IS_HEARTBEAT[table]} THEN {ts} ELSE {credible} END"
    latest = f"TIMESTAMPADD(SECOND, {math.ceil(max_future_s)}, {now})"
    return f"""CREATE TEMPORARY TABLE {table} (
        `key` BYTES,
        `value` BYTES,
        `partition` INT METADATA VIRTUAL,
        `offset` BIGINT METADATA VIRTUAL,
        logged_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
        event_time AS CASE
            WHEN {fits} AND {ts} <= {credible} THEN {ts}
            WHEN {fits} AND {ts} <= {latest} THEN {believed}
            END,
        WATERMARK FOR event_time AS event_time - {_seconds(out_of_order_s)}
    ) WITH ({
        kafka_options(
            job.kafka,
            topic,
            {
                "scan.startup.mode": "earliest-offset",
                "scan.watermark.idle-timeout": f"{round(job.joiner.idle_s * 1000)} ms",
                "properties.group.id": f"{job.name}-joiner",
                "properties.isolation.level": "read_committed",
                "properties.max.partition.fetch.bytes": str(job.kafka.max_message_bytes),
            },
        )
    })"""


def _fits(job: JoinJob) -> str:
    """Whether a value is short enough to be looked at: as text it would take many times its length.

    SQL counts characters only, and those of a copy; but a value that is not cut off is no longer than that.
    """
    return f"`value` = CAST(`value` AS VARBINARY({job.joiner.max_event_bytes}))"


def _seconds(seconds: float) -> str:
    return f"INTERVAL '{seconds:.3f}' SECOND(3, 3)"


def _keyed_type() -> RowTypeInfo:
    return Types.ROW_NAMED(["id", "arrival"], [Types.STRING(), ARRIVAL_TYPE])


def _keyed(arrivals: DataStream) -> KeyedStream:
    """Keyed by the request id that SQL has found, without the extra Python step that `key_by` adds."""
    selector = get_gateway().jvm.KeyByKeySelector()
    key_type = Types.ROW([Types.STRING()]).get_java_type_info()
    return KeyedStream(arrivals._j_data_stream.keyBy(selector, key_type), ARRIVAL_TYPE, arrivals)


def _write(tables: StreamTableEnvironment, job: JoinJob) -> None:
    topics = job.kafka.topics
    _insert(
        tables, "examples", _sink(job, "examples", topics.examples, ""), "`key`, `value`", "reason IS NULL"
    )
    headers = """MAP['topic', topic, 'partition', `partition`, 'offset', `offset`,
        'reason', reason, 'detail', detail]"""
    _insert(
        tables,
        "dead_letters",
        _sink(job, "dead_letters", topics.dead_letters, ", headers MAP<STRING NOT NULL, BYTES> METADATA"),
        f"`key`, `value`, {headers}",
        "reason IS NOT NULL",
    )


def _insert(
    tables: StreamTableEnvironment, table: str, definition: str, columns: str, condition: str
) -> None:
    _name_operators(tables, table)
    tables.execute_sql(definition)
    inserts = tables.create_statement_set()
    inserts.add_insert_sql(f"INSERT INTO {table} SELECT {columns} FROM joined WHERE {condition}")
    inserts.attach_as_datastream()


def _name_operators(tables: StreamTableEnvironment, table: str) -> None:
    """The uids of the operators around a table. Flink's own would be numbers that shift with every change."""
    tables.get_config().set("table.exec.uid.format", f"{table}-<transformation>")


def _sink(job: JoinJob, table: str, topic: str, more_columns: str) -> str:
    options = {
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"{job.name}-joiner-{table}",
        # A few ids that are used again, instead of new ones with every checkpoint.
        "sink.transaction-naming-strategy": "POOLING",
        "properties.transaction.timeout.ms": str(1000 * job.kafka.transaction_timeout_s),
        "properties.max.request.size": str(job.kafka.max_message_bytes),
        "properties.buffer.memory": str(max(2 * job.kafka.max_message_bytes, 32 << 20)),
    }
    return f"""CREATE TEMPORARY TABLE {table} (`key` BYTES, `value` BYTES{more_columns})
        WITH ({kafka_options(job.kafka, topic, options)})"""


def kafka_options(kafka: KafkaSettings, topic: str, options: dict[str, str]) -> str:
    """What stands after WITH for a topic whose keys and values are read and written as bytes."""
    client = {f"properties.{name}": value for name, value in kafka.client.items()}
    every = {
        **client,
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": kafka.bootstrap,
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        **options,
    }
    return ", ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in every.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
