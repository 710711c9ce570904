"""What a table does when memory ends, and whether it says truly what it takes."""

import subprocess
import sys
from pathlib import Path

import ps

ROOT = Path(ps.__file__).parent.parent

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
assert 50_000 < full < 500_000, full
sample = np.arange(0, full, 97)
assert np.array_equal(table.lookup(sample)[:, 5], sample)
assert table.remove(np.arange(5000)) == 5000
fill(0)
assert np.array_equal(table.lookup(np.arange(1000))[:, 1023], np.arange(1000))
print("usable")
"""

TRUE = """
import numpy as np
from ps.settings import TableSettings
from ps.table import EmbeddingTable

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

grads = np.ones((8192, 16), np.float32)
table = EmbeddingTable(TableSettings(dim=16), 1)
table.apply_gradients(np.arange(8192), grads)
table.touched()
before, counted_before = resident(), table.memory_bytes
for start in range(0, 1_200_000, 8192):
    table.apply_gradients(np.arange(start, start + 8192), grads)
    table.touched()
grown, counted = resident() - before, table.memory_bytes - counted_before
assert abs(grown - counted) < 0.05 * counted, (grown, counted)
print("true")
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_table_that_gets_no_memory_says_so_and_stays_usable():
    assert run(FULL) == "usable"


def test_memory_bytes_is_what_the_process_grew_by():
    assert run(TRUE) == "true"
