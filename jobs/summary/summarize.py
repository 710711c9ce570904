"""The summary of a run: how good and fresh the scores were, and where every impression went.

Reads the topics themselves (`read_committed`), not what the parts say of themselves; only freshness is asked
of the replicas, who alone know when they first used an action.

Quality is that of the scores as they were served, over the last half of the impressions in event order, on
the same examples for every model: when a frozen model's scores are there, only impressions that carry both
count. That half is also what a replay's frozen model, frozen after the first half, has not seen.
"""

import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from rich.console import Console
from rich.table import Table

from jobs.http import ask
from jobs.spec import Job
from jobs.summary.accounting import account_actions, account_impressions
from jobs.summary.inputs import (
    Inputs,
    impressions_of,
    is_of,
    read_actions,
    read_events,
    read_letters,
    read_requests,
)
from jobs.summary.outcomes import Outcomes, read_outcomes
from jobs.topics import read_topic
from model.quality import Quality, measure, sightings
from pipelines.schema import LabelKind

STATUS_TIMEOUT_S = 5.0
_PARTS = ("out", "sampled", "unlabelled", "dead", "waiting")


def summarize(job: Job, run_dir: Path) -> dict[str, Any]:
    """The summary as JSON (`docs/formats.md`); raises KafkaException when the topics can't be read."""
    began_s = time.monotonic()
    inputs, outcomes, accounting = _joins(job)
    labels = list(job.schema_.labels)
    qualities = {
        name: label_quality(inputs, outcomes, name, label.kind) for name, label in job.schema_.labels.items()
    }
    return {
        "job": job.name,
        **headline(qualities[labels[0]]),
        "examples": len(outcomes),
        **freshness(job),
        "accounting": accounting,
        **speed(run_dir, outcomes),
        "labels": {label: {of: q._asdict() for of, q in by.items()} for label, by in qualities.items()},
        "summary_s": round(time.monotonic() - began_s, 2),
    }


def summarize_joins(job: Job) -> dict[str, Any]:
    """The part of it that is about the joiner alone; raises OSError, too, when files can't be read."""
    _, outcomes, accounting = _joins(job)
    return {"job": job.name, "examples": len(outcomes), "accounting": accounting}


def _joins(job: Job) -> tuple[Inputs, Outcomes, dict[str, Any]]:
    topics, inputs = job.kafka.topics, Inputs()
    dead = list(read_topic(job, topics.dead_letters))
    dead_requests = read_letters(dead, is_of(job, topics.features), lambda value: impressions_of(value, job))
    dead_actions = read_letters(dead, is_of(job, topics.actions), lambda _: 1)
    read_requests(read_events(job, topics.features), dead_requests, job, inputs)
    read_actions(read_events(job, topics.actions), dead_actions, job, inputs)
    outcomes = read_outcomes(read_topic(job, topics.examples), list(job.schema_.labels))
    accounting = account_impressions(inputs, outcomes, dead_requests, job)
    accounting["actions"] = account_actions(inputs, outcomes, dead_actions, job)
    return inputs, outcomes, accounting


def headline(qualities: dict[str, Quality]) -> dict[str, float | None]:
    """The first label's numbers at the top level; None where unknown."""
    return {
        **{f"auc_{of}": quality.auc for of, quality in qualities.items()},
        **{f"log_loss_{of}": quality.log_loss for of, quality in qualities.items()},
        **{f"rmse_{of}": quality.rmse for of, quality in qualities.items()},
        "calibration_online": qualities["online"].calibration,
    }


def label_quality(inputs: Inputs, outcomes: Outcomes, label: str, kind: LabelKind) -> dict[str, Quality]:
    """The quality of the scores `online`, `frozen` and `best`, on the same examples of the last half."""
    columns = {
        "online": outcomes.column(f"score:{label}"),
        "frozen": outcomes.column(f"score:{label}@frozen"),
        "best": outcomes.column(f"score:{label}@best"),
    }
    chosen = last_half(inputs, outcomes) & (outcomes.column(f"mask:{label}") == 1)
    for scores in columns.values():
        both = chosen & ~np.isnan(scores)
        chosen = both if both.any() else chosen
    truth, rates = outcomes.column(f"label:{label}")[chosen], np.array(outcomes.sampling_rates)[chosen]
    otherwise = outcomes.column(f"otherwise:{label}")[chosen] if kind == "number" else truth <= 0
    was = outcomes.column(f"was:{label}")[chosen]
    seen = {of: sightings(truth, scores[chosen], otherwise, was, rates)[0] for of, scores in columns.items()}
    return {of: measure(each, kind) for of, each in seen.items()}


def last_half(inputs: Inputs, outcomes: Outcomes) -> npt.NDArray[np.bool_]:
    """Which examples (bool[n]) are of the last half of the impressions, by (event time, request id)."""
    ordered = sorted(
        (shown.ts_ms, request_id, len(shown.items)) for request_id, shown in inputs.requests.items()
    )
    ends = np.cumsum([count for _, _, count in ordered])
    if not len(ends):
        return np.zeros(len(outcomes), bool)
    first = int(np.searchsorted(ends, ends[-1] / 2, side="right"))
    late = {request_id for _, request_id, _ in ordered[first:]}
    return np.fromiter((request_id in late for request_id in outcomes.request_ids), bool, len(outcomes))


def freshness(job: Job) -> dict[str, float | None]:
    """p50 and p99 over the run, ms, as the replicas tell; the worst of them, None when none answers."""
    found: dict[str, float | None] = {"freshness_p50_ms": None, "freshness_p99_ms": None}
    for address in job.serving.addresses:
        status = replica_status(address)
        for name in found:
            told = status.get(name)
            if told is not None:
                found[name] = max(told, found[name] or 0.0)
    return found


def replica_status(address: str) -> dict[str, Any]:
    """What `GET /v1/status` of a replica says; empty when it does not answer."""
    try:
        status = orjson.loads(ask(f"http://{address}/v1/status", STATUS_TIMEOUT_S))
    except (OSError, HTTPException, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def speed(run_dir: Path, outcomes: Outcomes) -> dict[str, float | None]:
    """How long traffic ran (s) and impressions per second: from traffic.json, else by the joins' clock."""
    try:
        traffic = orjson.loads((run_dir / "traffic.json").read_bytes())
        duration_s = traffic["updated"] - traffic["started"]
        impressions = traffic["impressions"]
    except (OSError, ValueError, KeyError):
        joined = outcomes.joined_ms
        duration_s = (max(joined) - min(joined)) / 1000 if joined else 0.0
        impressions = len(outcomes)
    per_s = round(impressions / duration_s, 1) if duration_s > 0 else None
    return {"duration_s": round(duration_s, 1), "impressions_per_s": per_s}


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """The summary for a reader: quality, freshness, and the sum of the impressions."""
    console = console or Console()
    table = Table(title=f"{summary['job']}: {summary['examples']:,} examples", show_header=False)
    for name, value in _lines(summary):
        table.add_row(name, value)
    console.print(table)


def _lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
    accounting = summary["accounting"]
    return [
        *chain.from_iterable(_qualities(name, by) for name, by in summary["labels"].items()),
        (
            "freshness p50, p99",
            ", ".join(_number(summary[f"freshness_{p}_ms"], ",.0f", " ms") for p in ("p50", "p99")),
        ),
        (
            "impressions per second",
            f"{_number(summary['impressions_per_s'], ',.0f')} for {summary['duration_s']:,.0f} s",
        ),
        ("in = out + sampled + unlabelled + dead + waiting", sum_of(accounting)),
    ]


def _qualities(label: str, by: Mapping[str, Mapping[str, float | None]]) -> Iterator[tuple[str, str]]:
    """Of the last half: which numbers are known of a label says its kind."""
    online = by["online"]
    name, title, form = ("auc", "AUC", ".4f") if online["rmse"] is None else ("rmse", "RMSE", ".4g")
    three = ", ".join(_number(by[of][name], form) for of in ("online", "frozen", "best"))
    yield f"{label}: {title} as served, of the frozen model, best possible", three
    if name == "auc":
        yield f"{label}: log loss as served", _number(online["log_loss"], ".4f")
    yield f"{label}: predicted / actual", _number(online["calibration"], ".3f")


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "unknown" if value is None else format(value, form) + unit


def sum_of(accounting: dict[str, Any]) -> str:
    """The sum and whether it closes, for people."""
    parts = " + ".join(f"{accounting[name]:,}" for name in _PARTS)
    verdict = "closes" if accounting["closes"] else f"does NOT close: {_fault(accounting)}"
    return f"{accounting['in']:,} = {parts} ({verdict})"


def _fault(accounting: dict[str, Any]) -> str:
    return f"{accounting['lost']:,} lost, {accounting['duplicates']:,} duplicates"
