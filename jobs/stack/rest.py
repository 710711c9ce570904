"""What a Flink cluster says of itself and of its jobs, by its REST endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

import orjson

from jobs.http import ask

_TIMEOUT_S = 2.0
_LIVE_STATES = frozenset({"INITIALIZING", "CREATED", "RUNNING", "FAILING", "RESTARTING", "RECONCILING"})
_NO_TIME_MS = 1 << 62
"""Flink says ±2^63 before the first event and after the last; no event is as far away as this."""
_KINDS = ("completed", "savepoint")
_LAST_STATES = frozenset({"FINISHED", "CANCELED", "FAILED"})


class FlinkUnreachableError(Exception):
    """The cluster's REST endpoint does not answer, or not with what was asked for."""


class SavepointError(Exception):
    """A savepoint failed; the message is Flink's own."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a joiner has come."""

    events: int
    """Read so far; a restart begins to count anew."""
    event_time_ms: int | None


class FlinkRest:
    """One cluster; every call raises FlinkUnreachableError."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(path, "GET")

    def cancel(self, job_id: str) -> None:
        """Have the job cancelled."""
        self._ask(f"/jobs/{job_id}?mode=cancel", "PATCH")

    def stop(self, job_id: str, directory: str | None, *, drain: bool = False) -> str:
        """Have the job stopped with a savepoint, below `directory` or where the cluster keeps them.

        `drain`: it finishes what it holds as if nothing came any more. Returns what `savepoint` asks after.
        Native format: it takes as long as a checkpoint.
        """
        wanted = {"targetDirectory": directory, "drain": drain, "formatType": "NATIVE"}
        return str(self._ask(f"/jobs/{job_id}/stop", "POST", wanted)["request-id"])

    def savepoint(self, job_id: str, request_id: str) -> str | None:
        """Where the savepoint is, once it is whole; None before. Raises SavepointError when it failed."""
        answer = self.get(f"/jobs/{job_id}/savepoints/{request_id}")
        if answer["status"]["id"] != "COMPLETED":
            return None
        if (location := answer["operation"].get("location")) is None:
            cause = answer["operation"].get("failure-cause", {})
            raise SavepointError(_innermost(cause.get("stack-trace") or "Flink gives no reason"))
        return str(location)

    def _ask(self, path: str, method: str, content: Mapping[str, Any] | None = None) -> Any:
        body = None if content is None else orjson.dumps(content)
        try:
            return orjson.loads(ask(self.url + path, _TIMEOUT_S, method=method, body=body))
        except HTTPError as error:
            raise FlinkUnreachableError(f"{self.url}{path}: {_refusal(error)}") from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            what = getattr(reason, "strerror", None) or reason
            raise FlinkUnreachableError(f"{self.url}{path}: {what}") from error

    def live_job(self, name: str) -> dict[str, Any] | None:
        """The newest job called `name` that has not ended: `jid`, `state`, …"""
        return max(
            (job for job in self._jobs(name) if job["state"] in _LIVE_STATES), key=_start, default=None
        )

    def newest_job(self, name: str) -> dict[str, Any] | None:
        """The same, whether it has ended or not."""
        return max(self._jobs(name), key=_start, default=None)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """One job, also one that has ended, as `live_job` has it; None when the cluster knows none such."""
        jobs = self.get("/jobs/overview")["jobs"]
        return next((job for job in jobs if job["jid"] == job_id), None)

    def progress(self, job_id: str) -> "Progress":
        """How far a joiner is."""
        vertices = self.get(f"/jobs/{job_id}")["vertices"]
        read = (v["metrics"]["write-records"] for v in vertices if v["name"].startswith("Source: "))
        join = next(v["id"] for v in vertices if v["name"].startswith("join"))
        told = self.get(f"/jobs/{job_id}/vertices/{join}/watermarks")
        marks = [int(each["value"]) for each in told]
        earliest_ms = min(marks, default=_NO_TIME_MS)
        return Progress(sum(read), earliest_ms if abs(earliest_ms) < _NO_TIME_MS else None)

    def newest_checkpoint(self, name: str) -> str | None:
        """The path of the newest checkpoint or savepoint of the jobs called `name`, ended or not.

        A job without any has shown nothing to anybody: then that of the one before counts.
        """
        jobs = sorted(self._jobs(name), key=_start, reverse=True)
        return next(filter(None, (self.newest_of(job["jid"]) for job in jobs)), None)

    def has_finished(self, job: Mapping[str, Any]) -> bool:
        """Whether a job, as `job` has it, came to its own end: one that was stopped is FINISHED, too."""
        if job["state"] != "FINISHED":
            return False
        latest = self.get(f"/jobs/{job['jid']}/checkpoints")["latest"]
        taken_ms = {kind: int((latest.get(kind) or {}).get("trigger_timestamp", 0)) for kind in _KINDS}
        # Whoever stops a job takes a savepoint last.
        return taken_ms["savepoint"] <= taken_ms["completed"]

    def newest_of(self, job_id: str) -> str | None:
        """The newest checkpoint or savepoint of one job, as Flink has known it some seconds ago."""
        latest = self.get(f"/jobs/{job_id}/checkpoints")["latest"]
        whole = [taken for kind in _KINDS if (taken := latest.get(kind)) is not None]
        # A job that was restored and has taken none of its own has nothing newer than what it began with.
        found = max(whole, key=lambda taken: int(taken["trigger_timestamp"]), default=latest.get("restored"))
        return str(found["external_path"]) if found else None

    def _jobs(self, name: str) -> list[dict[str, Any]]:
        return [job for job in self.get("/jobs/overview")["jobs"] if job["name"] == name]

    def root_cause(self, job_id: str) -> str | None:
        """The last exception of a job, its last `Caused by` line first; None: there was none."""
        history = self.get(f"/jobs/{job_id}/exceptions?maxExceptions=1").get("exceptionHistory", {})
        entries = history.get("entries", [])
        return _innermost(entries[0]["stacktrace"]) if entries else None


def is_running(job: Mapping[str, Any]) -> bool:
    """Whether all tasks of a job, as `FlinkRest.job` has it, run."""
    return bool(job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"])


def has_ended(job: Mapping[str, Any]) -> bool:
    """Whether a job, as `FlinkRest.job` has it, is over for good."""
    return job["state"] in _LAST_STATES


def _start(job: Mapping[str, Any]) -> int:
    return int(job["start-time"])


def _innermost(stacktrace: str) -> str:
    lines = stacktrace.splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines)[-1 if causes else 0]


def _refusal(error: HTTPError) -> str:
    """Why Flink refused: the first line of its own words, where it has any."""
    try:
        errors = orjson.loads(error.read())["errors"]
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return str(error)
    told = [text for text in errors if text and not text.startswith("Internal server error")]
    return _innermost(str(told[0])) if told else str(error)
