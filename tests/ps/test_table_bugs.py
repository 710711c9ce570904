"""The deliberate bugs that the tests are shown to catch (`make mutants`) are still bugs of these sources."""

import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).parent / "native"


def test_each_bug_of_the_list_can_still_be_put_in():
    checked = subprocess.run(
        [sys.executable, NATIVE / "mutants.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
