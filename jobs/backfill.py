"""A backfill, `joiner.input`: where its files are, and whether it may begin."""

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException

from jobs.errors import JobError
from jobs.spec import Job
from jobs.stack.layout import RunDirectory
from jobs.topics import ends_at, ends_of
from pipelines.settings import InputSettings


def with_files(job: Job) -> Job:
    """The job with URLs for its files, if it has any."""
    given = job.joiner.input
    if given is None or given.kind == "kafka":
        return job
    return _with(job, {name: _url(str(getattr(given, name))) for name in ("features", "actions")})


def with_ends(job: Job, run: RunDirectory, *, resume: bool) -> Job:
    """The job with the present ends of its topics, if it is to read them to their ends.

    With `resume` those that the run was begun with. Raises JobError.
    """
    given, kept = job.joiner.input, run.flink / "ends.json"
    if given is None or given.kind == "files" or given.ends is not None:
        return job
    if resume and kept.exists():
        return _with(job, {"ends": InputSettings.model_validate_json(kept.read_text()).ends})
    topics = job.kafka.topics
    try:
        ends = {"features": ends_of(job, topics.features), "actions": ends_of(job, topics.actions)}
    except KafkaException as error:
        raise JobError(f"kafka.topics: the topics can't be read: {error.args[0].str()}.") from error
    bounded = _with(job, {"ends": ends})
    run.write_private(kept, bounded.joiner.input.model_dump_json())  # type: ignore[union-attr]
    return bounded


def _with(job: Job, update: Mapping[str, object]) -> Job:
    assert job.joiner.input is not None
    joiner = job.joiner.model_copy(update={"input": job.joiner.input.model_copy(update=dict(update))})
    return job.model_copy(update={"joiner": joiner})


def _url(place: str) -> str:
    # Not `as_uri`: Flink takes a path as it stands, without %20.
    return place if "://" in place else f"file://{Path(place).resolve()}"


def check_files(job: Job) -> None:
    """Raise JobError for files of this machine that are not there; a cluster's own may have others."""
    given = job.joiner.input
    if given is None or given.kind == "kafka" or job.joiner.flink_address is not None:
        return
    for name in ("features", "actions"):
        place = str(getattr(given, name)).removeprefix("file://")
        if "://" not in place and not Path(place).exists():
            raise JobError(f"joiner.input.{name}: {place} does not exist.", exit_status=2)


def check_examples(job: Job) -> None:
    """Raise JobError when the examples of a backfill would come on top of others."""
    given, topic = job.joiner.input, job.kafka.topics.examples
    if given is None or given.append:
        return
    try:
        is_empty = ends_at(job, topic, {})
    except KafkaException as error:
        raise JobError(f"kafka.topics.examples: {topic} can't be read: {error.args[0].str()}.") from error
    if not is_empty:
        raise JobError(
            f"kafka.topics.examples: {topic} has examples already, and who learns from it would learn what "
            "the backfill repeats a second time. Name another topic (--set kafka.topics.examples="
            f"{topic}-backfill), or go on with --resume; with joiner.input.append: true it is written to all "
            "the same."
        )
