"""Whether what `traffic.path` names can be replayed with the features of a job."""

from collections.abc import Mapping

from jobs.spec import Job
from jobs.traffic.check import check_path
from jobs.traffic.history import ITEM_KEYS, USER_KEYS
from jobs.traffic.paths import BadPathError, KuaiRandFiles, RatingsFile, column_names, find_files
from jobs.validation.shape import Finding, sources_without

_PATH = ("traffic", "path")


def check_data(job: Job) -> list[Finding]:
    """Mistakes that reading the users' and the items' columns shows; a replay without a path has none yet."""
    if job.traffic.kind != "replay" or job.traffic.path is None:
        return []
    try:
        check_path(job)
    except BadPathError as error:
        return [_finding(error)]
    return check_columns(job)


def check_columns(job: Job) -> list[Finding]:
    """Mistakes that the names of files and columns show, quickly; a replay needs a path."""
    if job.traffic.kind != "replay":
        return []
    try:
        keys = _keys(find_files(job.traffic.path))
    except BadPathError as error:
        return [_finding(error)]
    return list(sources_without(job, keys, "the data have"))


def _finding(error: BadPathError) -> Finding:
    message = str(error).removesuffix(".").removeprefix("traffic.path").removeprefix(":").strip()
    return Finding(_PATH, message, uses=(("traffic", "kind"),))


def _keys(files: KuaiRandFiles | RatingsFile) -> Mapping[str, tuple[str, ...]]:
    """What a request of the replay has, by origin."""
    if isinstance(files, RatingsFile):
        return {"user": ("user_id",), "context": ("hour",), "item": ("item_id",)}
    return {
        "user": ("user_id", *column_names(files.users), *sorted(USER_KEYS)),
        "context": ("tab", "hour"),
        "item": ("item_id", "duration_ms", *column_names(files.videos), *sorted(ITEM_KEYS)),
    }
