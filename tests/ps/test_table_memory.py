"""What a table does when memory ends, and whether it says truly what it takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ps
from ps.settings import TableSettings
from ps.table import EmbeddingTable

ROOT = Path(ps.__file__).parent.parent
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")

FULL = """
import resource
import numpy as np
from ps.settings import InitializerSettings, OptimizerSettings, TableSettings
from ps.table import EmbeddingTable

settings = TableSettings(
    dim=1024, initializer=InitializerSettings(kind="zeros"), optimizer=OptimizerSettings(kind="sgd")
)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
unlimited = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (768 << 20), unlimited[1]))
table = EmbeddingTable(settings, 1)

def fill(start):
    ids = np.arange(start, start + 1000)
    table.assign(ids, np.repeat(ids.astype(np.float32)[:, None], 1024, axis=1))

full = 0
try:
    while full < 500_000:
        fill(full)
        full += 1000
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_AS, unlimited)
assert 40_000 < full < 500_000, full
sample = np.arange(0, full, 97)
assert np.array_equal(table.lookup(sample)[:, 5], sample)
assert table.remove(np.arange(5000)) == 5000
fill(0)
assert np.array_equal(table.lookup(np.arange(1000))[:, 1023], np.arange(1000))
print("usable")
"""

TRUE = """
import ctypes
import numpy as np
from ps.settings import TableSettings
from ps.table import EmbeddingTable

def resident():
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what malloc keeps for later is no table's
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def check(dim, kind, n):
    learns = kind in ("learnt", "listed")
    rows = np.ones((4096, dim), np.float32)
    before = resident()
    table = EmbeddingTable(TableSettings(dim=dim), 1, optimizer=learns, rows="float32" if learns else kind)
    for start in range(0, n, 4096):
        table.assign(np.arange(start, start + 4096), rows)
        if kind != "listed":
            table.touched()
    grown = resident() - before
    assert abs(grown - table.memory_bytes) < 0.02 * grown, (dim, kind, grown, table.memory_bytes)

EmbeddingTable(TableSettings(), 1).apply_gradients(np.arange(4096), np.ones((4096, 16), np.float32))
for case in CASES:
    check(*case)
print("true")
"""

# About 200 MB each: where the system is out of huge pages, two that are counted may be there in part, the
# last of the rows and the last of the map.
CASES = [
    (1, "int8", 5_000_000),
    (16, "learnt", 1_200_000),
    (8, "listed", 1_500_000),
    (100, "float16", 900_000),
    (256, "int8", 700_000),
    (1024, "learnt", 26_000),
]


HUGE = """
import numpy as np
from ps.settings import TableSettings
from ps.table import EmbeddingTable

def asked_for_huge_pages():
    sections = open("/proc/self/smaps").read().split("VmFlags:")[1:]
    return sum("hg" in flags.split("\\n")[0].split() for flags in sections)

table = EmbeddingTable(TableSettings(dim=16), 1)
before = asked_for_huge_pages()
table.assign(np.arange(400_000), np.ones((400_000, 16), np.float32))
print(before, asked_for_huge_pages())
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_table_that_gets_no_memory_says_so_and_stays_usable():
    assert run(FULL) == "usable"


def test_memory_bytes_is_within_2_percent_of_what_the_process_grew_by():
    assert run(f"CASES = {CASES}\n{TRUE}") == "true"


HAS_HUGE_PAGES = "[never]" not in ENABLED.read_text()


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="this system has no huge pages to give")
def test_a_table_asks_for_huge_pages_once_it_is_large():
    before, after = map(int, run(HUGE).split())
    assert after > before


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="small pages are given back one by one")
def test_a_list_of_touched_rows_leaves_its_memory_to_the_next_which_gives_back_what_it_does_not_take():
    table = EmbeddingTable(TableSettings(dim=1), 1)
    ids = np.arange(600_000)
    listed_bytes = 16 * ids.size
    table.assign(ids, np.ones((ids.size, 1), np.float32))
    full = table.memory_bytes
    assert table.touched().size == ids.size
    in_short_chunks_bytes = listed_bytes / 8
    assert full - table.memory_bytes < in_short_chunks_bytes
    few = ids[: ids.size // 4]
    table.assign(few, np.zeros((few.size, 1), np.float32))
    assert table.touched().size == few.size
    assert listed_bytes / 2 < full - table.memory_bytes < listed_bytes
