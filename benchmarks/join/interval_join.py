"""The peer in SQL: `flink run -py interval_join.py --settings FILE`. See `benchmarks.joiner`."""

import argparse
import json
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment

TYPES = {"int": "BIGINT", "string": "STRING", "float": "DOUBLE"}


def row(fields: dict[str, str]) -> str:
    return f"ROW<{', '.join(f'`{name}` {TYPES[kind]}' for name, kind in fields.items())}>"


def quoted(options: dict[str, str]) -> str:
    return ", ".join(f"'{name}' = '{value}'" for name, value in options.items())


def source(settings: dict[str, Any], table: str, columns: str) -> str:
    options = {
        "connector": "kafka",
        "topic": settings[table],
        "properties.bootstrap.servers": settings["bootstrap"],
        "properties.group.id": settings["name"],
        "properties.isolation.level": "read_committed",
        "scan.startup.mode": "earliest-offset",
        "scan.watermark.idle-timeout": "30 s",
        "format": "json",
    }
    return f"""CREATE TEMPORARY TABLE {table} ({columns}, ts BIGINT, event_time AS TO_TIMESTAMP_LTZ(ts, 3),
        WATERMARK FOR event_time AS event_time - INTERVAL '{settings["out_of_order_s"]}' SECOND)
        WITH ({quoted(options)})"""


def sink(settings: dict[str, Any], columns: str) -> str:
    options = {
        "connector": "kafka",
        "topic": settings["output"],
        "properties.bootstrap.servers": settings["bootstrap"],
        "properties.transaction.timeout.ms": "900000",
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": settings["name"],
        "sink.transaction-naming-strategy": "POOLING",
        "format": "json",
    }
    return f"CREATE TEMPORARY TABLE output ({columns}) WITH ({quoted(options)})"


def join(settings: dict[str, Any]) -> tuple[str, str]:
    """Columns of the result, and the query."""
    features = {
        name: (origin, kind) for origin, kinds in settings["schema"].items() for name, kind in kinds.items()
    }
    window = f"INTERVAL '{settings['window_s']}' SECOND(3)"
    values = ", ".join(f"f.`{origin}`.`{name}`" for name, (origin, _) in features.items())
    columns = ", ".join(f"`{name}` {TYPES[kind]}" for name, (_, kind) in features.items())
    query = f"""SELECT f.request_id, f.ts, {values}, a.ts, CASE WHEN a.request_id IS NULL THEN 0 ELSE 1 END
        FROM (SELECT request_id, ts, event_time, `user`, context, items[1] AS item FROM features) f
        LEFT JOIN actions a ON f.request_id = a.request_id AND f.item.item_id = a.item_id
        AND a.event_time BETWEEN f.event_time AND f.event_time + {window}"""
    return f"request_id STRING, ts BIGINT, {columns}, action_ts BIGINT, label INT", query


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", type=Path, required=True)
    settings = json.loads(parser.parse_args().settings.read_bytes())
    env = StreamExecutionEnvironment.get_execution_environment()
    env.set_parallelism(settings["parallelism"])
    env.enable_checkpointing(settings["checkpoint_interval_ms"])
    env.configure(Configuration().set_string("pipeline.name", settings["name"]))
    tables = StreamTableEnvironment.create(env)
    user, context, item = (row(settings["schema"][origin]) for origin in ("user", "context", "item"))
    features = f"request_id STRING, `user` {user}, context {context}, items ARRAY<{item}>"
    tables.execute_sql(source(settings, "features", features))
    tables.execute_sql(
        source(settings, "actions", "request_id STRING, item_id BIGINT, action STRING, `value` DOUBLE")
    )
    columns, query = join(settings)
    tables.execute_sql(sink(settings, columns))
    tables.execute_sql(f"INSERT INTO output {query}")


if __name__ == "__main__":
    main()
