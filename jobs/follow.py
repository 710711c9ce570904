"""A backfill on a Flink cluster, followed to its end, and added up."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException

from jobs.backfill import with_ends, with_files
from jobs.errors import JobError
from jobs.spec import Job
from jobs.stack.layout import RunDirectory
from jobs.stack.rest import FlinkRest, FlinkUnreachableError, has_ended
from jobs.summary.summarize import sum_of, summarize_joins

_LOOK_S, _TELL_S = 0.5, 10.0
_PATIENCE_S = 60.0
"""A cluster that does not answer for so long is not waited for."""
Tell = Callable[[str], None]


def follow(job: Job, run: RunDirectory, job_id: str, tell: Tell) -> dict[str, Any]:
    """Wait until Flink has finished the backfill `job_id`, then add it up: `accounting`, null when it can't.

    `run` is where it was submitted from; `tell` gets a sentence now and then. Raises JobError when it fails,
    or is cancelled.
    """
    address = job.joiner.flink_address
    assert address is not None
    _wait(FlinkRest(address), job_id, tell)
    given = job.joiner.input
    if given is not None and given.append:
        tell("No sum is drawn: with joiner.input.append the topic has examples of others, too.")
        return {"accounting": None}
    tell("Adding up what was read and what was written.")
    try:
        return summarize_joins(with_ends(with_files(job), run, resume=True))
    except (KafkaException, OSError) as error:
        tell(f"The sum can't be drawn: {error}")
        return {"accounting": None}


def _wait(rest: FlinkRest, job_id: str, tell: Tell) -> None:
    told_s = time.monotonic()
    while not has_ended(seen := _look(rest, job_id)):
        if time.monotonic() - told_s > _TELL_S:
            told_s = time.monotonic()
            with suppress(FlinkUnreachableError):
                tell(_in_words(rest, seen))
        time.sleep(_LOOK_S)
    if seen["state"] == "FINISHED" and not rest.has_finished(seen):
        raise JobError(f"the backfill ({job_id}) was stopped with a savepoint; go on with it by --resume.")
    if seen["state"] != "FINISHED":
        why = f": {rest.root_cause(job_id)}" if seen["state"] == "FAILED" else ""
        raise JobError(f"the backfill ({job_id}) is {seen['state'].lower()}{why}.")


def _look(rest: FlinkRest, job_id: str) -> dict[str, Any]:
    """The job; a cluster that is silent, or has lost it, is asked again for a while."""
    deadline_s, trouble = time.monotonic() + _PATIENCE_S, f"it knows no job {job_id}"
    while time.monotonic() < deadline_s:
        try:
            if (seen := rest.job(job_id)) is not None:
                return seen
        except FlinkUnreachableError as error:
            trouble = str(error)
        time.sleep(_LOOK_S)
    raise JobError(f"joiner.flink_address: Flink does not tell of the backfill: {trouble}.")


def _in_words(rest: FlinkRest, seen: dict[str, Any]) -> str:
    """Raises FlinkUnreachableError."""
    if seen["state"] != "RUNNING":
        return f"{seen['state'].lower()}: {rest.root_cause(seen['jid'])}"
    progress = rest.progress(seen["jid"])
    read, at_ms = f"{progress.events:,} events read", progress.event_time_ms
    if at_ms is None:
        return read
    return f"{read}, event time {datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def report(job: Job, summary: dict[str, Any]) -> str:
    """The end of a backfill, for people."""
    topics, accounting = job.kafka.topics, summary["accounting"]
    lines = [f"{job.name}: the backfill has finished; its examples are in the topic {topics.examples}."]
    if accounting is not None:
        lines.append(f"in = out + sampled + unlabelled + dead + waiting: {sum_of(accounting)}")
        dead = {**accounting["dead_by_reason"]}
        for reason, count in accounting["actions"]["dead_by_reason"].items():
            dead[reason] = dead.get(reason, 0) + count
        if dead:
            told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dead.items()))
            lines.append(f"in the topic {topics.dead_letters}: {told}")
        if accounting["waiting"]:
            lines.append("waiting: their windows end after the last event of one of the inputs")
    return "\n".join(lines)


def has_gone_wrong(summary: dict[str, Any]) -> bool:
    """Whether the sum was drawn and does not close."""
    return summary["accounting"] is not None and not summary["accounting"]["closes"]


def to_stderr(sentence: str) -> None:
    """Tells of progress."""
    print(sentence, file=sys.stderr, flush=True)
