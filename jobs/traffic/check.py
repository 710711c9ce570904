"""Whether a job's traffic can be produced at all, to be asked before anything is started."""

from jobs.spec import Job
from jobs.traffic.paths import KuaiRandFiles, find_files
from jobs.traffic.tables import Needs, read_by_id


def check_path(job: Job) -> None:
    """Raise `jobs.traffic.paths.BadPathError` (its message is a sentence) unless the replay can be read.

    The log itself, which may be large, is only opened; the columns of users and videos are read as the
    schema wants.
    """
    if job.traffic.kind != "replay":
        return
    files = find_files(job.traffic.path)
    if isinstance(files, KuaiRandFiles):
        read_by_id(files.users, "user_id", Needs(job, "user"))
        read_by_id(files.videos, "video_id", Needs(job, "item"))
