"""`ps/_core.pyi` is what the module has."""

import subprocess
import sys
from pathlib import Path

import ps


def test_the_stub_is_that_of_the_built_module(tmp_path: Path):
    made = tmp_path / "_core.pyi"
    stubgen = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "ps._core", "-o", str(made)]
    root = Path(ps.__file__).parent.parent
    subprocess.run(stubgen, check=True, cwd=root, capture_output=True)
    assert made.read_text() == (root / "ps" / "_core.pyi").read_text(), (
        "run the stubgen command of ps/_core.pyi's test"
    )
