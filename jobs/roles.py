"""One role in this process: from a job file to the entry point of the stage that plays it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import JobError
from jobs.spec import Job

if TYPE_CHECKING:
    from jobs.stack.layout import RunDirectory

ROLES = ("joiner", "archive", "ps", "trainer", "replica", "traffic", "dashboard")


def run_role(job: Job, role: str, index: int, run_dir: Path, resume: bool) -> None:
    """Be part `index` of `role` until SIGTERM, with the addresses of the job file.

    Prints a line of JSON with `ready` when it works. Raises JobError for an address that is missing, or when
    the role can't be played; SystemExit with a sentence when it can't go on.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if job.kafka.bootstrap == "embedded" and role != "dashboard":
        raise JobError("kafka.bootstrap: a role alone needs a broker's address, host:port.", exit_status=2)
    from jobs.archive import with_archive
    from jobs.backfill import with_files
    from jobs.stack.layout import RunDirectory

    run = RunDirectory(run_dir.resolve())
    _PLAYERS[role](with_files(with_archive(job, run)), index, run.path, resume)


def _run_joiner(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    _submit(job, run_dir, resume, role="joiner")


def _run_archive(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from jobs.archive import archive_job

    if job.joiner.archive is None:
        raise JobError("joiner.archive: the role archive needs this block, such as `{path: s3://…}`.", 2)
    _submit(archive_job(job), run_dir, resume, role="archive")


def _submit(job: Job, run_dir: Path, resume: bool, role: str) -> None:
    """Hand a job to Flink and end: from then on it is Flink's. A backfill is waited for."""
    from jobs.stack.layout import RunDirectory
    from jobs.submit import RUNNING_S, submit

    if job.joiner.flink_address is None:
        message = f"joiner.flink_address: the role {role} needs the REST address of a Flink cluster."
        raise JobError(message, exit_status=2)
    run, is_archive = RunDirectory(run_dir), role == "archive"
    done = submit(job, run, resume=resume, wait_s=RUNNING_S, is_archive=is_archive)
    print(done.in_words(job), flush=True)
    if job.joiner.input is not None:
        _follow(job, run, done.job_id)


def _follow(job: Job, run: "RunDirectory", job_id: str) -> None:
    from jobs.follow import follow, has_gone_wrong, report, to_stderr

    summary = follow(job, run, job_id, to_stderr)
    print(report(job, summary))
    if has_gone_wrong(summary):
        raise SystemExit(1)


def _run_shard(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from model.features import table_settings
    from ps.server import ShardOptions, run_shard

    options = ShardOptions(
        index=index,
        shards=job.ps.shards,
        address=_place("ps.addresses", job.ps.addresses, index),
        metrics_address=_optional(job.ps.metrics_addresses, index),
        tables=table_settings(job.schema_, job.schema_.tables, job.schema_.default_table),
        dense_optimizer=job.model.optimizer,
        seed=job.seed,
        sync=job.sync,
        snapshots_url=job.snapshots.url or f"file://{run_dir}/snapshots",
        snapshot_interval_s=job.snapshots.interval_s,
        keep=job.snapshots.keep,
        bootstrap=job.kafka.bootstrap,
        kafka_client=job.kafka.client,
        updates_topic=job.kafka.topics.updates,
        resume=resume,
        initial_capacity_rows=job.ps.initial_capacity_rows,
        threads=job.ps.threads,
        state_dir=run_dir / "state" / f"ps-{index}",
    )
    run_shard(options)


def _run_trainer(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from model.features import table_settings
    from model.train import run_trainer

    run_trainer(
        worker=index,
        schema=job.schema_.by_name(),
        tables=table_settings(job.schema_, job.schema_.tables, job.schema_.default_table),
        model=job.model,
        trainer=job.trainer,
        seed=job.seed,
        shard_addresses=_all_shards(job),
        bootstrap=job.kafka.bootstrap,
        kafka_client=job.kafka.client,
        examples_topic=job.kafka.topics.examples,
        metrics_address=_optional(job.trainer.metrics_addresses, index),
        group=f"{job.name}-trainer",
    )


def _run_replica(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from model.features import table_settings
    from serving.replica import run_replica
    from serving.store import StoreError

    try:
        run_replica(
            index=index,
            address=_place("serving.addresses", job.serving.addresses, index),
            schema=job.schema_.by_name(),
            tables=table_settings(job.schema_, job.schema_.tables, job.schema_.default_table),
            model=job.model,
            seed=job.seed,
            shards=job.ps.shards,
            bootstrap=job.kafka.bootstrap,
            kafka_client=job.kafka.client,
            updates_topic=job.kafka.topics.updates,
            state_dir=run_dir / "state" / f"replica-{index}",
            serving=job.serving,
        )
    except (StoreError, OSError) as error:
        raise JobError(str(error)) from error


def _run_traffic(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from confluent_kafka import KafkaException

    from jobs.traffic.paths import BadPathError
    from jobs.traffic.source import run_traffic

    sys.stdout.write('{"ready": true}\n')
    try:
        run_traffic(job, run_dir, resume=resume)
    except BadPathError as error:
        raise JobError(str(error), exit_status=2) from error
    except KafkaException as error:
        raise JobError(f"kafka.bootstrap: {job.kafka.bootstrap}: {error.args[0].str()}.") from error


def _run_dashboard(job: Job, index: int, run_dir: Path, resume: bool) -> None:
    from jobs.dashboard.app import run_dashboard

    run_dashboard(job, run_dir)


_PLAYERS: dict[str, Callable[[Job, int, Path, bool], None]] = {
    "joiner": _run_joiner,
    "archive": _run_archive,
    "ps": _run_shard,
    "trainer": _run_trainer,
    "replica": _run_replica,
    "traffic": _run_traffic,
    "dashboard": _run_dashboard,
}


def _place(where: str, addresses: tuple[str, ...], index: int) -> str:
    if index >= len(addresses):
        raise JobError(f"{where}[{index}]: a role alone needs an address here, host:port.", exit_status=2)
    return addresses[index]


def _optional(addresses: tuple[str, ...], index: int) -> str | None:
    return addresses[index] if index < len(addresses) else None


def _all_shards(job: Job) -> tuple[str, ...]:
    _place("ps.addresses", job.ps.addresses, job.ps.shards - 1)
    return job.ps.addresses
