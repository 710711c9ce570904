"""Dense tensors for the replicas: files, and when they are written."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from croniter import croniter
from pyarrow import fs

from ps.arrays import Float32
from ps.settings import SyncSettings
from ps.tensor_files import absolute_url, filesystem, sha256_of, write_tensors
from ps.updates import DenseReference

DENSE_FILES_KEPT: Final = 32
_FIRST_WAIT_S: Final = 60


class DenseFiles:
    """The files that dense references point at: `URL/dense/shard-0/VERSION.parquet`, the newest few."""

    def __init__(self, url: str, shard: int, kept: int = DENSE_FILES_KEPT) -> None:
        self._files, root = filesystem(url)
        self._root = f"{root.rstrip('/')}/dense/shard-{shard}"
        self._url = url
        self._shard = shard
        self._kept = kept
        self._files.create_dir(self._root, recursive=True)
        self._version = max((int(name) for name in self._names()), default=0)

    def write(self, tensors: Mapping[str, Float32]) -> DenseReference:
        """Write a new version and remove the oldest. Versions are times (ms): they grow across restarts."""
        self._version = max(self._version + 1, time.time_ns() // 1_000_000)
        name = f"{self._version}.parquet"
        write_tensors(self._files, f"{self._root}/{name}", tensors)
        for old in sorted(self._names(), key=int)[: -self._kept]:
            self._files.delete_file(f"{self._root}/{old}.parquet")
        digest = sha256_of(self._files, f"{self._root}/{name}")
        url = absolute_url(self._url, "dense", f"shard-{self._shard}", name)
        return DenseReference(url, self._version, digest)

    def _names(self) -> list[str]:
        found = self._files.get_file_info(fs.FileSelector(self._root))
        return [f.base_name.removesuffix(".parquet") for f in found if f.base_name[:-8].isdigit()]


class DenseSchedule:
    """When dense tensors go out: at once if there is a new one, then by interval or cron in local time.

    By cron also 1, 2, 4, 8, … minutes after the first time: a new model would else be served with its initial
    dense tensors until the night.
    """

    def __init__(self, sync: SyncSettings, now: Callable[[], datetime] = datetime.now) -> None:
        self._sync = sync
        self._now = now
        self._published: frozenset[str] = frozenset()
        self._began_s = self._next_s = 0.0

    def is_due(self, names: Iterable[str]) -> bool:
        """Whether tensors of these names are to be published now."""
        wanted = frozenset(names)
        return bool(wanted) and (wanted != self._published or self._now().timestamp() >= self._next_s)

    def published(self, names: Iterable[str]) -> None:
        """The broker has acknowledged tensors of these names."""
        now_s = self._now().timestamp()
        if self._published != frozenset(names):
            self._published, self._began_s = frozenset(names), now_s
        if self._sync.dense_interval_s is not None:
            self._next_s = now_s + self._sync.dense_interval_s
        else:
            by_cron_s = croniter(self._sync.dense_cron, self._now()).get_next(datetime).timestamp()
            self._next_s = min(by_cron_s, now_s + max(_FIRST_WAIT_S, now_s - self._began_s))
