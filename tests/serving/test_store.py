import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.updates import DenseReference, Position, Update
from serving.progress import ShardProgress
from serving.store import DenseFile, Store, StoreError

ROOT = Path(__file__).parents[2]
IDS = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 255, 256])
TABLES = st.sampled_from(["a", "ab", "a\u00e9", ""])


def update(rows: dict[str, dict[int, float]], deleted: dict[str, set[int]] | None = None) -> Update:
    return Update(
        shard=0,
        shards=1,
        epoch=1,
        sequence=1,
        life=1,
        rows={
            table: (
                np.array(list(values), np.int64),
                np.array([[v, -v] for v in values.values()], np.float32),
            )
            for table, values in rows.items()
        },
        deleted={table: np.array(sorted(ids), np.int64) for table, ids in (deleted or {}).items()},
    )


def contents(store: Store) -> dict[tuple[str, int], list[float]]:
    return {
        (table, row_id): row
        for table, ids, _, rows, _ in store.rows()
        for row_id, row in zip(ids.tolist(), rows.tolist(), strict=True)
    }


@given(
    st.lists(
        st.tuples(
            st.dictionaries(TABLES, st.dictionaries(IDS, st.integers(-9, 9), min_size=1), max_size=3),
            st.dictionaries(TABLES, st.sets(IDS, min_size=1), max_size=2),
        ),
        max_size=5,
    )
)
@settings(max_examples=25, deadline=None)
def test_the_store_holds_what_a_dict_would(writes):
    expected = {}
    with tempfile.TemporaryDirectory() as path:
        store = Store(Path(path))
        for rows, deleted in writes:
            store.write([update(rows, deleted)], {}, {})
            expected |= {(t, i): [v, -v] for t, values in rows.items() for i, v in values.items()}
            for key in [(t, i) for t, ids in deleted.items() for i in ids]:
                expected.pop(key, None)
        store.reopen()
        assert contents(store) == expected
        store.close()


def test_everything_beside_the_rows_comes_back(tmp_path):
    store = Store(tmp_path)
    marks, whole = {0: 5, 1: 6}, Position(7, 1)
    progress = ShardProgress(6, 7, 3, published_ms=9, marks=marks, whole=whole, gap="a sentence")
    first, second = DenseReference("file:///a", 1, "aa"), DenseReference("file:///b", 2, "bb")
    tensors = {"bias": np.zeros((), np.float32), "kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    store.identify({"seed": 1})
    store.write([Update(12, 13, 1, 1, dense=second, life=1)], {12: progress}, {0: 10, 11: 12})
    store.write_dense(1, DenseFile(first, {"bias": np.ones(2, np.float32)}))
    store.write_dense(12, DenseFile(first, {"gone": np.ones(2, np.float32)}))
    store.write_dense(12, DenseFile(first, tensors))
    store.reopen()
    found = store.contents()
    assert found.identity == {"seed": 1}
    assert found.offsets == {0: 10, 11: 12}
    assert found.progress == {12: progress}
    assert found.wanted == {12: second}
    assert found.dense[12].reference == first
    assert {name: t.tolist() for name, t in found.dense[12].tensors.items()} == {
        "bias": 0.0,
        "kernel": [[0, 1, 2], [3, 4, 5]],
    }
    assert found.dense[1].tensors["bias"].tolist() == [1, 1]
    store.begin({"seed": 2})
    assert store.contents().identity == {"seed": 2}
    assert not store.contents().offsets
    assert not contents(store)
    store.close()


def test_a_checkpoint_does_not_follow(tmp_path):
    store = Store(tmp_path / "live")
    store.write([update({"a": {1: 1}})], {}, {0: 1})
    store.checkpoint(tmp_path / "kept")
    store.write([update({"a": {1: 2}})], {}, {0: 2})
    kept = Store(tmp_path / "kept", read_only=True)
    assert contents(kept) == {("a", 1): [1, -1]}
    assert contents(store) == {("a", 1): [2, -2]}
    kept.close()
    store.close()


ROWS = 2000
"""So many that they don't fit into what is left of a file's last block."""


def step(number: int) -> Update:
    return update({"a": dict.fromkeys(range(ROWS), number)})


@pytest.mark.stack
def test_a_full_disk_refuses_each_write_and_the_first_for_which_there_is_room_finds_all_before_it(
    small_disk, fill
):
    store = Store(small_disk / "rows")
    store.write([step(1)], {}, {0: 1})
    filler = fill()
    dense = DenseFile(DenseReference("file:///a", 1, "aa"), {"kernel": np.zeros(4000, np.float32)})
    for _ in range(3):
        with pytest.raises(StoreError, match=r"can't be (written|opened): .*No space left"):
            store.write([step(2)], {}, {0: 2})
        with pytest.raises(StoreError, match="No space left"):
            store.write_dense(0, dense)
        with pytest.raises(StoreError, match="No space left"):
            store.checkpoint(small_disk / "kept")
    assert len(list((small_disk / "rows").glob("LOG.old.*"))) == 1
    filler.unlink()
    store.write_dense(0, dense)
    assert store.contents().offsets == {0: 1}
    assert contents(store) == {("a", i): [1, -1] for i in range(ROWS)}
    store.write([step(2)], {}, {0: 2})
    store.reopen()
    assert store.contents().offsets == {0: 2}
    assert store.contents().dense[0].reference == dense.reference
    assert contents(store) == {("a", i): [2, -2] for i in range(ROWS)}
    store.checkpoint(small_disk / "kept")
    store.close()


@pytest.mark.stack
def test_a_store_on_a_full_disk_can_be_closed_and_is_whole(small_disk, fill):
    store = Store(small_disk / "rows")
    store.write([step(1)], {}, {0: 1})
    filler = fill()
    with pytest.raises(StoreError):
        store.write([step(2)], {}, {0: 2})
    store.close()
    store.close()
    filler.unlink()
    store = Store(small_disk / "rows")
    assert store.contents().offsets == {0: 1}
    assert contents(store) == {("a", i): [1, -1] for i in range(ROWS)}
    store.close()


def test_a_second_process_is_told_that_the_directory_is_taken(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=r"can't be opened: .*[Ll]ock"):
        Store(tmp_path)
    store.close()


WRITER = """
import sys
from pathlib import Path
import numpy as np
from ps.updates import Update
from serving.store import Store
store = Store(Path(sys.argv[1]))
ids = np.arange(500)
step = store.contents().offsets.get(0, 0)
while True:
    step += 1
    rows = np.full((500, 4), step, np.float32)
    store.write([Update(0, 1, 1, step, {"a": (ids[:250], rows[:250])}, life=1),
                 Update(0, 1, 1, step, {"b": (ids[250:], rows[250:])}, life=1)], {}, {0: step})
    print(step, flush=True)
"""


def test_after_a_kill_the_rows_are_those_of_the_offset(tmp_path):
    for kill_after in random.Random(1).sample(range(1, 60), 3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(kill_after):
            told = int(writer.stdout.readline())
        writer.kill()
        writer.wait()
        writer.stdout.close()
        store = Store(tmp_path)
        offset = store.contents().offsets[0]
        values = list(contents(store).values())
        store.close()
        assert offset >= told
        assert values == [[offset] * 4] * 500
