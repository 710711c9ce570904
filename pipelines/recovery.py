"""Goes on from the newest checkpoint or savepoint that stands where the job's configuration puts them.

Whoever asks a JobManager for the newest one, and finds it dead, knows only what it said last: since then it
may have committed more, which would be joined again. The file system knows. Nothing there says whose a
checkpoint is, so the directories must be those of one run.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from pipelines.settings import JoinJob

_DIRECTORIES: Final = ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir")
_CHECKPOINT: Final = "chk-"


class Saved(NamedTuple):
    """A whole checkpoint or savepoint; the greatest is the newest."""

    written_ms: int
    is_savepoint: bool
    """Object stores count whole seconds: what a job ends with comes after its checkpoints."""
    number: int
    url: str


def go_on(env: StreamExecutionEnvironment, job: JoinJob) -> None:
    """Has the job of `env` go on from the newest one; without any it begins as it would have.

    Raises SystemExit for a backfill without any: Flink deletes those of a job that has finished, and what it
    has written would be written again.
    """
    options = env._j_stream_execution_environment.getConfiguration()
    files, directories = Files(options), options.toMap()
    found = [saved for name in _DIRECTORIES for saved in saved_below(files, directories[name])]
    if found:
        env.configure(Configuration().set_string("execution.state-recovery.path", max(found).url))
    elif job.joiner.input is not None:
        raise SystemExit(
            f"{job.name}: there is no checkpoint to go on from: either this backfill has finished, or it has "
            "come to none; then run it anew, without --resume"
        )


class Files:
    """Flink's own file systems: they have its plugins and its configuration."""

    def __init__(self, options: Any) -> None:
        flink = get_gateway().jvm.org.apache.flink.core
        # `flink run` has done so without the options on its command line.
        plugins = flink.plugin.PluginUtils.createPluginManagerFromRootFolder(options)
        flink.fs.FileSystem.initialize(options, plugins)
        self._path = flink.fs.Path

    def list(self, url: str) -> list[Any]:
        """What is in a directory; nothing when there is none."""
        path = self._path(url)
        files = path.getFileSystem()
        return list(files.listStatus(path)) if files.exists(path) else []


def saved_below(files: Files, url: str) -> Iterator[Saved]:
    """A checkpoint is `JOB/chk-NUMBER/_metadata`, a savepoint `savepoint-…/_metadata`."""
    for folder in files.list(url):
        within = files.list(str(folder.getPath()))
        if (written_ms := _written_ms(within)) is not None:
            yield Saved(written_ms, True, 0, str(folder.getPath()))
        for checkpoint in within:
            name = str(checkpoint.getPath().getName())
            if name.startswith(_CHECKPOINT):
                place = str(checkpoint.getPath())
                if (written_ms := _written_ms(files.list(place))) is not None:
                    yield Saved(written_ms, False, int(name.removeprefix(_CHECKPOINT)), place)


def _written_ms(files: list[Any]) -> int | None:
    """When a checkpoint became whole; None: it is not."""
    found = (each for each in files if each.getPath().getName() == "_metadata")
    return next((int(file.getModificationTime()) for file in found), None)
