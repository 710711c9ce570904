"""The benchmark of the table compiles against the table as it is, and prints what it documents."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
OURS = {"lookup_hit", "lookup_miss", "update", "mixed", "insert"}


def test_the_benchmark_of_the_table_measures_ours_in_every_case() -> None:
    command = [sys.executable, "-m", "jobs", "bench", "table", "--rows", "20480", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for distribution in ("uniform", "zipf"):
        for threads in (1, 2):
            case = told[f"{distribution}_{threads}"]
            assert all(case[what]["ours"] > 0 for what in OURS)
            assert case["lookup_hit"]["ours_python"] > 0
            assert case["growth_max_ms"] > 0
    assert told["bytes_per_row"] > told["payload_bytes_per_row"] == 136
    assert 0.5 < told["load_factor"] < 1
