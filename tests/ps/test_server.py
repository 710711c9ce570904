"""Real processes: killed, damaged, stopped, resumed."""

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ps.client import Push, PushRefused, Shards, Span

pytestmark = pytest.mark.stack

IDS = np.arange(40, dtype=np.int64)
POSITIONS = 300


def batch(first: int, last: int) -> Push:
    """What is learnt from positions [first, last): each moves 5 rows by an amount of its own."""
    ids = np.concatenate([np.arange(p, p + 5) % 40 for p in range(first, last)]).astype(np.int64)
    amounts = np.repeat(np.sin(np.arange(first, last)), 5)
    gradients = np.repeat(amounts[:, None], 3, axis=1).astype(np.float32)
    unique, where = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(unique), 3), np.float32)
    np.add.at(sums, where, gradients)
    dense = {"w": np.full(4, np.sin(first), np.float32)}
    return Push((Span(0, first, last),), {"user": (unique, sums)}, dense)


def cut_at(first: int, marks: list[int]) -> int:
    """Where the batch that starts at `first` ends: after 3 positions, or at a shard's mark."""
    return min([(first // 3 + 1) * 3, POSITIONS, *(mark for mark in marks if mark > first)])


def train(shards: Shards, on_step: Callable[[int], None] = lambda position: None) -> None:
    """A trainer without state: learns all positions, and after a refusal asks the shards how far they are."""
    marks = [shard.get(0, 0) for shard in shards.marks()]
    position = min(marks)
    while position < POSITIONS:
        end = cut_at(position, marks)
        try:
            shards.push(batch(position, end))
        except PushRefused:
            marks = [shard.get(0, 0) for shard in shards.marks()]
            end = min(marks)
        position = end
        on_step(position)


def learnt(shards: Shards) -> tuple[list[list[float]], list[float]]:
    rows, dense = shards.pull({"user": IDS})
    return rows["user"].tolist(), dense["w"].tolist()


def initialize(shards: Shards) -> None:
    shards.initialize_dense({"w": np.zeros(4, np.float32)})


def files(tmp_path, index: int) -> Iterator[str]:
    return sorted(path.name for path in (tmp_path / f"shard-{index}").iterdir())


def test_shards_that_are_killed_go_on_and_learn_each_position_once(serve, shard_processes, connect):
    undisturbed = connect(serve(2).addresses)
    initialize(undisturbed)
    train(undisturbed)

    processes = shard_processes(2)
    shards = connect([p.address for p in processes])
    initialize(shards)
    # Position to what happens there; the last kill comes before the shard's next snapshot.
    snapshots = {30, 90, 180}
    kills = {60: 0, 120: 1, 201: 1, 240: 0}

    def disturb(position: int) -> None:
        if position in snapshots:
            snapshots.remove(position)
            shards.snapshot()
        if position in kills:
            process = processes[kills.pop(position)]
            process.kill()
            # The trainer goes on meanwhile: it waits for the shard by itself.
            threading.Timer(0.2, process.start, kwargs={"resume": True}).start()

    train(shards, disturb)
    assert not kills
    assert not snapshots
    assert learnt(shards) == learnt(undisturbed)
    assert shards.marks() == [{0: POSITIONS}] * 2


def test_a_shard_killed_before_it_knew_a_partition_learns_it_from_the_start(serve, shard_processes, connect):
    undisturbed = connect(serve(2).addresses)
    (first, second) = shard_processes(2)
    shards = connect([first.address, second.address])
    for client in (undisturbed, shards):
        initialize(client)
        client.push(batch(0, 3))
    second.kill()
    second.start(resume=True)
    with pytest.raises(PushRefused, match=r"shard 1 .* has restarted, perhaps from a snapshot"):
        shards.push(batch(3, 6))
    assert shards.marks() == [{0: 6}, {0: 0}]
    initialize(shards)
    for client in (undisturbed, shards):
        train(client)
    assert learnt(shards) == learnt(undisturbed)


def test_after_sigterm_nothing_is_lost(shard_processes, connect):
    (process,) = shard_processes(1)
    shards = connect([process.address])
    initialize(shards)
    train(shards)
    before = learnt(shards)
    assert process.stop() == 0
    process.start(resume=True)
    assert learnt(shards) == before
    assert shards.marks() == [{0: POSITIONS}]


def test_a_damaged_snapshot_is_named_and_the_one_before_is_taken(shard_processes, connect, tmp_path):
    (process,) = shard_processes(1)
    shards = connect([process.address])
    initialize(shards)
    shards.push(batch(0, 3))
    shards.snapshot()
    shards.push(batch(3, 6))
    process.stop()
    newest = tmp_path / "shard-0" / files(tmp_path, 0)[-1] / "tables" / "user.parquet"
    newest.write_bytes(newest.read_bytes()[:-1])
    process.start(resume=True)
    assert shards.marks() == [{0: 3}]
    assert f"{newest.parts[-3]} is damaged" in process.log()


def test_without_resume_a_shard_starts_empty_and_older_snapshots_do_not_come_back(shard_processes, connect):
    (process,) = shard_processes(1)
    shards = connect([process.address])
    initialize(shards)
    train(shards)
    process.stop()
    process.start(resume=False)
    assert shards.marks() == [{}]
    process.kill()
    process.start(resume=True)
    assert shards.marks() == [{}]


def test_what_prevents_a_start_is_said_in_a_sentence(shard_processes, tmp_path):
    (process,) = shard_processes(1)
    taken = process.fail(snapshots_url=str(tmp_path / "other"))
    assert f"shard 0: can't listen on {process.address}: Address already in use\n" in taken
    process.stop()
    other_job = process.fail(resume=True, seed=8)
    assert "its seed is 7, this job's is 8" in other_job
    unwritable = process.fail(snapshots_url="/proc/nothing")
    assert "shard 0: " in unwritable
    for text in (taken, other_job, unwritable):
        assert "Traceback" not in text


def test_with_no_broker_a_shard_serves_and_ends_in_time(shard_processes, connect):
    (process,) = shard_processes(1, bootstrap="127.0.0.1:1")
    shards = connect([process.address])
    initialize(shards)
    train(shards)
    started = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - started < 25


def test_metrics_are_there_under_their_names(shard_processes, connect):
    (process,) = shard_processes(1)
    shards = connect([process.address])
    initialize(shards)
    shards.push(batch(0, 3))
    shards.push(batch(0, 3))
    with pytest.raises(PushRefused):
        shards.push(batch(9, 12))
    learnt(shards)
    text = urllib.request.urlopen(process.metrics).read().decode()
    for line in [
        'freshet_ps_rows{table="user"} 7.0',
        "freshet_ps_pushes_total 1.0",
        "freshet_ps_repeated_pushes_total 1.0",
        "freshet_ps_refused_pushes_total 1.0",
        "freshet_ps_push_seconds_count 3.0",
        "freshet_ps_published_rows_total 0.0",
        "freshet_ps_publish_lag_seconds 0.0",
    ]:
        assert f"{line}\n" in text
    for name in ("memory_bytes", "lookup_seconds_bucket", "snapshot_age_seconds", "lookup_p99_seconds"):
        assert f"freshet_ps_{name}" in text


def test_the_module_imports_no_other_stage():
    imports = "import sys, ps.server, ps.client; print([m for m in sys.modules if m in sys.argv])"
    stages = ["pipelines", "model", "serving", "jobs", "tensorflow", "pyflink"]
    result = subprocess.run([sys.executable, "-c", imports, *stages], capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
