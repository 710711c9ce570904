"""Snapshots of a shard: Parquet files any tool can read, and a manifest with their checksums.

    URL/shard-0/000000000007/manifest.json, dense.parquet, dense-state.parquet, tables/NAME.parquet,
                             bounds/NAME.parquet

A snapshot is written beside its place and renamed when it is whole, so a directory with its final name is
complete. On file systems that can't rename directories (object stores) the manifest, written last, makes it
so.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pydantic import BaseModel, ConfigDict

from ps.arrays import Float32
from ps.bounds_files import read_bounds, write_bounds
from ps.settings import OptimizerSettings, TableSettings
from ps.shard import Shard, TableBounds, TableRows
from ps.tensor_files import filesystem, read_tensors, sha256_of, write_tensors

FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
_ROWS_PER_BATCH: Final = 1 << 16
_RENAMING_FILESYSTEMS: Final = frozenset({"local", "hdfs"})
_ROW_SCHEMA: Final = pa.schema(
    [
        ("id", pa.int64()),
        ("embedding", pa.list_(pa.float32())),
        ("state", pa.list_(pa.float32())),
        ("last_update_ms", pa.int64()),
        ("count", pa.uint32()),
    ]
)
_COMPRESSION: Final = {
    "id": "lz4",
    "embedding.list.element": "none",
    "state.list.element": "none",
    "last_update_ms": "lz4",
    "count": "lz4",
}
_log: Final = logging.getLogger(__name__)


class SnapshotError(Exception):
    """A snapshot that is damaged, or not one of this shard of this job."""


class _DamagedError(SnapshotError):
    """Not what was written."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Model):
    """One file of a snapshot, path relative to it."""

    path: str
    sha256: str


class TableEntry(_Model):
    """One table of a snapshot."""

    file: FileEntry
    rows: int
    settings: TableSettings
    bounds: FileEntry | None = None


class UpdatesPosition(_Model):
    """The newest message of `updates` that the broker had acknowledged before the snapshot."""

    epoch: int
    sequence: int
    partition: int
    offset: int


class Manifest(_Model):
    """What a snapshot holds."""

    version: int
    shard: int
    shards: int
    seed: int
    epoch: int
    created_ms: int
    marks: dict[int, int]
    steps: int
    updates: UpdatesPosition | None
    tables: dict[str, TableEntry]
    dense: FileEntry
    dense_state: FileEntry
    dense_optimizer: OptimizerSettings


class SnapshotStore:
    """The snapshots of one shard, below `url`. Used by one thread at a time."""

    def __init__(self, url: str, shard: int, keep: int) -> None:
        files, root = filesystem(url)
        self._files = files
        self._root = f"{root.rstrip('/')}/shard-{shard}"
        self._keep = keep
        self._files.create_dir(self._root, recursive=True)

    def write(self, shard: Shard, epoch: int, updates: UpdatesPosition | None) -> Manifest:
        """Write a snapshot of the shard as it is now, then remove those beyond `keep`."""
        path = f"{self._root}/{self._next_number():012}"
        staged = f"{path}.tmp" if self._files.type_name in _RENAMING_FILESYSTEMS else path
        self._files.create_dir(f"{staged}/tables", recursive=True)
        self._files.create_dir(f"{staged}/bounds", recursive=True)
        manifest = self._write_files(staged, shard, epoch, updates)
        with self._files.open_output_stream(f"{staged}/{MANIFEST}") as stream:
            stream.write(_seal(manifest))
        if staged != path:
            self._files.move(staged, path)
        self._remove_old()
        return manifest

    def restore(self, shard: Shard) -> Manifest | None:
        """Fill `shard`, which is empty, from the newest snapshot that is whole; None: there are no snapshots.

        A damaged one is passed over, with a sentence in the log. Raises SnapshotError when all are damaged,
        or when the newest sound one is of a later format or of another job (seed, tables, number of shards).
        """
        paths = sorted(self._committed(), reverse=True)
        for path in paths:
            try:
                manifest = self._verified_manifest(path)
            except (_DamagedError, OSError, ValueError) as error:
                _log.error("snapshot %s is damaged (%s): the one before it is taken", path, error)
                continue
            _check_fits(manifest, shard, path)
            self._load(path, manifest, shard)
            return manifest
        if paths:
            raise SnapshotError(
                f"all {len(paths)} snapshots in {self._root} are damaged: "
                "put a good one there, or start anew without resuming"
            )
        return None

    def _write_files(
        self, staged: str, shard: Shard, epoch: int, updates: UpdatesPosition | None
    ) -> Manifest:
        created_ms = time.time_ns() // 1_000_000
        tables = {}
        with closing(shard.state()) as state:
            for name, chunks in state.tables.items():
                settings = shard.table_settings[name]
                path = f"tables/{quote(name, safe='')}.parquet"
                rows = _write_rows(self._files, f"{staged}/{path}", chunks, settings.dim)
                tables[name] = TableEntry(
                    file=self._entry(staged, path),
                    rows=rows,
                    settings=settings,
                    bounds=self._write_bounds(staged, name, state.bounds.get(name)),
                )
        write_tensors(self._files, f"{staged}/dense.parquet", state.dense)
        write_tensors(self._files, f"{staged}/dense-state.parquet", _flatten(state.dense_state))
        return Manifest(
            version=FORMAT_VERSION,
            shard=shard.index,
            shards=shard.shards,
            seed=shard.seed,
            epoch=epoch,
            created_ms=created_ms,
            marks=dict(state.marks),
            steps=state.steps,
            updates=updates,
            tables=tables,
            dense=self._entry(staged, "dense.parquet"),
            dense_state=self._entry(staged, "dense-state.parquet"),
            dense_optimizer=shard.dense_optimizer,
        )

    def _write_bounds(self, staged: str, table: str, bounds: TableBounds | None) -> FileEntry | None:
        if bounds is None:
            return None
        path = f"bounds/{quote(table, safe='')}.parquet"
        write_bounds(self._files, f"{staged}/{path}", bounds)
        return self._entry(staged, path)

    def _entry(self, staged: str, path: str) -> FileEntry:
        # Read back, so that what the checksum vouches for is what the file system stored.
        return FileEntry(path=path, sha256=sha256_of(self._files, f"{staged}/{path}"))

    def _verified_manifest(self, path: str) -> Manifest:
        with self._files.open_input_stream(f"{path}/{MANIFEST}") as stream:
            manifest = _unseal(stream.read())
        entries = [manifest.dense, manifest.dense_state, *(t.file for t in manifest.tables.values())]
        entries += [table.bounds for table in manifest.tables.values() if table.bounds]
        for entry in entries:
            if sha256_of(self._files, f"{path}/{entry.path}") != entry.sha256:
                raise _DamagedError(f"{entry.path} has another checksum than the manifest says")
        return manifest

    def _load(self, path: str, manifest: Manifest, shard: Shard) -> None:
        for name, entry in manifest.tables.items():
            for rows in _read_rows(self._files, f"{path}/{entry.file.path}", entry.settings.dim):
                shard.restore_rows(name, rows)
            if entry.bounds:
                self._load_bounds(f"{path}/{entry.bounds.path}", name, shard)
        state = read_tensors(self._files, f"{path}/{manifest.dense_state.path}")
        dense = read_tensors(self._files, f"{path}/{manifest.dense.path}")
        shard.restore_dense(dense, _unflatten(state), manifest.marks, manifest.steps)

    def _load_bounds(self, path: str, table: str, shard: Shard) -> None:
        bounds = read_bounds(self._files, path)
        try:
            fits = shard.restore_bounds(table, bounds)
        except ValueError as error:
            raise SnapshotError(f"{path}: table {table!r}: {error}") from error
        if not fits:
            _log.warning("table %r: admission has other settings now and counts anew", table)

    def _committed(self) -> list[str]:
        return [info.path for info in self._directories() if info.base_name.isdigit()]

    def _directories(self) -> list[fs.FileInfo]:
        found = self._files.get_file_info(fs.FileSelector(self._root))
        return [info for info in found if info.type == fs.FileType.Directory]

    def _next_number(self) -> int:
        return 1 + max((int(path.rpartition("/")[2]) for path in self._committed()), default=0)

    def _remove_old(self) -> None:
        kept = set(sorted(self._committed())[-self._keep :])
        for info in self._directories():
            if info.path not in kept:
                self._files.delete_dir(info.path)


def _seal(manifest: Manifest) -> bytes:
    body = manifest.model_dump(mode="json")
    sealed = {"manifest": body, "sha256": _digest(body)}
    return orjson.dumps(sealed, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _unseal(data: bytes) -> Manifest:
    sealed = orjson.loads(data)
    if not isinstance(sealed, dict) or _digest(sealed.get("manifest")) != sealed.get("sha256"):
        raise _DamagedError(f"{MANIFEST} does not match its own checksum")
    version = sealed["manifest"].get("version")
    if version != FORMAT_VERSION:
        raise SnapshotError(
            f"the newest snapshot is of format {version}: this Freshet reads {FORMAT_VERSION}"
        )
    return Manifest.model_validate(sealed["manifest"])


def _digest(body: object) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _check_fits(manifest: Manifest, shard: Shard, path: str) -> None:
    """Raise SnapshotError when the snapshot is whole but of something else."""
    pairs: list[tuple[str, object, object]] = [
        ("shard", manifest.shard, shard.index),
        ("number of shards", manifest.shards, shard.shards),
        ("seed", manifest.seed, shard.seed),
        ("optimizer of dense tensors", manifest.dense_optimizer.kind, shard.dense_optimizer.kind),
    ]
    for name, entry in manifest.tables.items():
        now = shard.table_settings.get(name)
        pairs += [
            (f"dim of table {name!r}", entry.settings.dim, now and now.dim),
            (f"optimizer of table {name!r}", entry.settings.optimizer.kind, now and now.optimizer.kind),
        ]
    for what, stored, wanted in pairs:
        if stored != wanted:
            raise SnapshotError(
                f"snapshot {path} is of another job: its {what} is {stored}, this job's is {wanted}"
            )


def _write_rows(files: fs.FileSystem, path: str, chunks: Iterable[TableRows], dim: int) -> int:
    """Write a row group per chunk; how many rows there were."""
    rows = 0
    # Rows are noise to a compressor; only the ids and times gain from it.
    with pq.ParquetWriter(
        path, _ROW_SCHEMA, filesystem=files, use_dictionary=False, compression=_COMPRESSION
    ) as writer:
        for chunk in chunks:
            columns = [
                chunk.ids,
                _lists(chunk.rows[:, :dim]),
                _lists(chunk.rows[:, dim:]),
                chunk.last_update_ms,
                chunk.count,
            ]
            writer.write_batch(pa.record_batch(columns, schema=_ROW_SCHEMA))
            rows += len(chunk.ids)
    return rows


def _read_rows(files: fs.FileSystem, path: str, dim: int) -> Iterator[TableRows]:
    with files.open_input_file(path) as source:
        for batch in pq.ParquetFile(source).iter_batches(_ROWS_PER_BATCH):
            embedding = batch.column("embedding").flatten().to_numpy().reshape(-1, dim)
            state = batch.column("state").flatten().to_numpy().reshape(len(embedding), -1)
            yield TableRows(
                ids=batch.column("id").to_numpy(),
                rows=np.hstack([embedding, state]),
                last_update_ms=batch.column("last_update_ms").to_numpy(),
                count=batch.column("count").to_numpy(),
            )


def _lists(matrix: Float32) -> pa.ListArray:
    n, width = matrix.shape
    offsets = np.arange(0, n * width + 1, width, np.int32) if width else np.zeros(n + 1, np.int32)
    return pa.ListArray.from_arrays(offsets, matrix.ravel())


def _flatten(state: Mapping[str, Mapping[str, Float32]]) -> dict[str, Float32]:
    """Optimizer state by one name each, `m:dense/kernel`."""
    return {f"{part}:{name}": value for name, parts in state.items() for part, value in parts.items()}


def _unflatten(flat: Mapping[str, Float32]) -> dict[str, dict[str, Float32]]:
    state: dict[str, dict[str, Float32]] = {}
    for key, value in flat.items():
        part, _, name = key.partition(":")
        state.setdefault(name, {})[part] = value
    return state
