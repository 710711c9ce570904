"""The archive as a Flink job: the topic `examples` as Parquet, a row per example (`docs/formats.md`).

    examples ──► Table source: raw bytes, topic, partition, offset ──► rows ──► FileSink
                 read_committed                                        └─ Java: freshet.archive ─┘

A job of its own, and not a second sink of the joiner's: the offset of an example is known only when it is
committed, and a file system that is slow or away must not hold up the join. Exactly once is FileSink's: the
files of a checkpoint stay hidden until it is whole, and then wait, hidden still, until those of several
checkpoints have been written into one.

No Python runs on the cluster.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import StreamTableEnvironment

from pipelines.archive_columns import columns
from pipelines.settings import JoinJob
from pipelines.topology import MAX_PARALLELISM, add_jars, kafka_options

ROW_GROUP_BYTES: Final = 16 << 20
"""Of rows, before they are encoded. Small: who reads holds those that overlap."""
WAITING_BYTES: Final = 64 << 20
"""Of rows of all hours that a checkpoint has files open for, in a backfill thousands."""


def build_archive(env: StreamExecutionEnvironment, job: JoinJob, jars: Iterable[Path]) -> None:
    """Adds the whole job to `env`; `archive.path` has to be a URL. `jars`: what it takes along."""
    archive = job.joiner.archive
    assert archive is not None
    assert archive.path is not None
    env.set_parallelism(archive.parallelism)
    env.set_max_parallelism(MAX_PARALLELISM)
    env.enable_checkpointing(round(1000 * archive.checkpoint_interval_s))
    env.configure(Configuration().set_string("pipeline.auto-generate-uids", "false"))
    add_jars(env, jars)
    tables = StreamTableEnvironment.create(env)
    tables.get_config().set("table.exec.uid.generation", "ALWAYS")
    tables.get_config().set("table.exec.uid.format", "examples-<transformation>")
    tables.execute_sql(_source(job))
    messages = tables.sql_query("SELECT topic, `partition`, `offset`, `value` FROM examples")
    get_gateway().jvm.freshet.archive.Archive.write(
        tables._j_tenv,
        messages._j_table,
        _row_type(columns(job.schema_)),
        archive.path,
        ROW_GROUP_BYTES,
        WAITING_BYTES,
        archive.file_bytes,
        archive.compact_every,
    )


def _row_type(of: dict[str, str]) -> str:
    return f"ROW<{', '.join(f'{_identifier(name)} {kind}' for name, kind in of.items())}>"


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _source(job: JoinJob) -> str:
    options = {
        "scan.startup.mode": "earliest-offset",
        "properties.group.id": job.name,
        "properties.isolation.level": "read_committed",
        "properties.max.partition.fetch.bytes": str(job.kafka.max_message_bytes),
    }
    return f"""CREATE TEMPORARY TABLE examples (
        topic STRING METADATA VIRTUAL,
        `partition` INT METADATA VIRTUAL,
        `offset` BIGINT METADATA VIRTUAL,
        `key` BYTES,
        `value` BYTES
    ) WITH ({kafka_options(job.kafka, job.kafka.topics.examples, options)})"""
