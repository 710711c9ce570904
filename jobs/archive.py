"""The archive as a job of its own beside the joiner: its name, its files, its state."""

from collections.abc import Mapping
from pathlib import Path

from jobs.spec import Job
from jobs.stack.layout import RunDirectory
from pipelines.settings import archive_name, joiner_name

_S3 = frozenset({"s3", "s3a", "s3p"})
"""As Flink calls it. pyarrow would try others that don't answer for minutes."""


def with_archive(job: Job, run: RunDirectory) -> Job:
    """The job with URLs for the archives that it writes and reads; without a path it writes into `run`."""
    if job.trainer.archive is not None:
        job = job.model_copy(
            update={"trainer": job.trainer.model_copy(update={"archive": _url(job.trainer.archive)})}
        )
    if (archive := job.joiner.archive) is None:
        return job
    url = _url(archive.path or str(run.path / "archive"))
    return _with_joiner(job, {"archive": archive.model_copy(update={"path": url})})


def _url(place: str) -> str:
    return place if "://" in place else Path(place).resolve().as_uri()


def holds_archive(url: str) -> bool | None:
    """Whether rows stand there already, as far as this machine sees; None: it can't tell."""
    scheme, _, place = url.partition("://")
    if scheme == "file":
        return any(Path(place).glob("event_day=*"))
    if scheme not in _S3:
        return None
    from pyarrow import fs

    try:
        system, root = fs.FileSystem.from_uri(f"s3://{place}")
        found = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
    except (OSError, ValueError):
        return None
    return any(each.base_name.startswith("event_day=") for each in found)


def archive_job(job: Job) -> Job:
    """`job` as Flink sees its archive: it goes on from no state of the joiner's, and is no backfill."""
    state_url = job.joiner.state_url
    own = {"state_url": f"{state_url}/archive" if state_url else None, "restore_from": None, "input": None}
    name = archive_name(joiner_name(job.name, job.joiner))
    return _with_joiner(job, own).model_copy(update={"name": name})


def archive_of(job: Job, run: RunDirectory, restore_from: str | None = None) -> Job | None:
    """The archive's job beside the joiner `job`, if there is to be one; it begins at `restore_from`."""
    if job.joiner.archive is None:
        return None
    return _with_joiner(archive_job(with_archive(job, run)), {"restore_from": restore_from})


def _with_joiner(job: Job, update: Mapping[str, object]) -> Job:
    return job.model_copy(update={"joiner": job.joiner.model_copy(update=dict(update))})
