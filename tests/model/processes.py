"""Programs that tests run in processes of their own."""

SHARDS = """
import sys
import orjson
from pipelines.schema import ExampleSchema
from model.features import table_settings
from ps.server import ShardOptions, run_shard
from ps.settings import OptimizerSettings, SyncSettings, TableSettings

schema = ExampleSchema.model_validate_json(sys.argv[1])
run_shard(ShardOptions(
    index=0, shards=1, address=sys.argv[2], metrics_address=None,
    tables=table_settings(schema, {}, TableSettings(dim=4)), dense_optimizer=OptimizerSettings(kind="adam"),
    seed=1, sync=SyncSettings(), snapshots_url=sys.argv[3], snapshot_interval_s=3600, keep=2, bootstrap=None,
    kafka_client={}, updates_topic="updates", resume=True,
))
"""
"""One shard; arguments: schema, address, URL of its snapshots. It prints a line of JSON when it is ready."""
