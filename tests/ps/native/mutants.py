"""Shows that the tests of the table catch deliberate bugs: `make mutants`; some of them: `mutants.py WORD…`.

Each bug of `bugs.txt` goes into a copy of the sources, which is built and tested until something fails.
`--check` only tells whether each can still be put in.
"""

import os
import re
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRATCH = ROOT / ".cache" / "mutants"
NATIVE = Path("ps/native")
PROOFS = Path("tests/ps/native")
BUILD = SCRATCH / "build"
ENVIRONMENT = SCRATCH / "venv"
PYTHON = ENVIRONMENT / "bin" / "python"
LEAST_TIMEOUT_S = 120
TIMES_AS_LONG = 5
"""A check that takes so many times what it takes without a bug has caught one: a machine may be busy."""

PYTEST = [PYTHON, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
# It needs replicas, which are no part of the copy.
NOT_ALONE = ("test_tier_shard.py",)


def tests(*patterns: str) -> list[str]:
    """The files of tests/ps that fit."""
    found = (path for pattern in patterns for path in sorted((ROOT / "tests/ps").glob(pattern)))
    return [str(path.relative_to(ROOT)) for path in found if path.name not in NOT_ALONE]


# The fastest first.
CHECKS = {
    "replay": [BUILD / "replay", PROOFS / "corpus", "60"],
    "stress": [BUILD / "stress", "200"],
    "bounds": [*PYTEST, *tests("test_bounds*.py", "test_admission_filter.py", "test_tier*.py")],
    "pytest": [*PYTEST, *tests("test_table*.py"), "--deselect", "tests/ps/test_table_bugs.py"],
    "allocation failures": [
        BUILD / "allocation_failures",
        *sorted((ROOT / PROOFS / "corpus").glob("memory-*")),
    ],
}


@dataclass(frozen=True)
class Bug:
    """One line of a source of the table, changed, and what that breaks."""

    promise: str
    file: str
    old: str
    new: str

    def apply_to(self, text: str) -> str:
        """The source with the bug in it. ValueError: the old line is not there exactly once."""
        found = len(re.findall(rf"^\s*{re.escape(self.old)}$", text, re.MULTILINE))
        if found != 1:
            raise ValueError(
                f"bugs.txt, {self.promise!r}: {self.old!r} is {found} times in {self.file}, not once"
            )
        return re.sub(rf"^(\s*){re.escape(self.old)}$", lambda m: m[1] + self.new, text, flags=re.MULTILINE)


def read_bugs() -> list[Bug]:
    """The bugs of bugs.txt: blocks of promise, file, `- old line`, `+ new line`."""
    text = re.sub(r"^#.*\n", "", (ROOT / PROOFS / "bugs.txt").read_text(), flags=re.MULTILINE)
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    return [Bug(promise, file, old[2:], new[2:]) for promise, file, old, new in blocks]


def check(bugs: list[Bug]) -> None:
    """ValueError: a bug can no longer be put in."""
    for bug in bugs:
        bug.apply_to((ROOT / NATIVE / bug.file).read_text())


def copy_sources() -> None:
    """What is needed to build and test; files that are the same stay, so that they are not built again."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "ps", "tests/ps", "pyproject.toml"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for source in map(ROOT.joinpath, names):
        target = SCRATCH / source.relative_to(ROOT)
        if not source.exists() or (target.exists() and target.read_bytes() == source.read_bytes()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def make_environment() -> None:
    """A Python with the packages of this one, but not its editable install: that finds the modules of ROOT,
    without bugs, wherever it runs.
    """
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, symlinks=True)
    for folder in ENVIRONMENT.glob("lib/python*/site-packages"):
        (folder / "packages.pth").write_text(sysconfig.get_path("purelib"))
    where = [PYTHON, "-c", "import ps._core; print(ps._core.__file__)"]
    found = subprocess.run(where, cwd=SCRATCH, check=True, capture_output=True, text=True).stdout
    if not Path(found.strip()).is_relative_to(SCRATCH):
        raise SystemExit(f"the tests would run on {found.strip()}, which is no copy")


def build() -> None:
    """CalledProcessError: it does not compile."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = ["-DFRESHET_MODULE=ON", "-DFRESHET_IN_PLACE=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    if not (BUILD / "build.ninja").exists():
        run(
            ["cmake", "-S", SCRATCH / PROOFS, "-B", BUILD, "-G", "Ninja", *options],
            env=environment,
            check=True,
        )
    run(["cmake", "--build", BUILD], env=environment, check=True)


def run(command: list[object], **options: object) -> subprocess.CompletedProcess[bytes]:
    """In the copy, in silence."""
    output = SCRATCH / "output"
    with output.open("wb") as file:
        return subprocess.run([str(c) for c in command], cwd=SCRATCH, stdout=file, stderr=file, **options)


def failures(took_s: dict[str, float]) -> Iterator[str]:
    """The checks that fail, or take too long. `took_s`, empty at first, gets how long each takes."""
    for name, command in CHECKS.items():
        timeout_s = max(LEAST_TIMEOUT_S, TIMES_AS_LONG * took_s[name]) if name in took_s else None
        start_s = time.monotonic()
        try:
            if run(command, timeout=timeout_s).returncode:
                yield name
        except subprocess.TimeoutExpired:
            yield f"{name}, which did not end"
        took_s.setdefault(name, time.monotonic() - start_s)


def try_bug(bug: Bug, took_s: dict[str, float]) -> str:
    """What became of it. `took_s`: how long each check takes without it."""
    path = SCRATCH / NATIVE / bug.file
    text = path.read_text()
    path.write_text(bug.apply_to(text))
    try:
        build()
        return next((f"caught by {check}" for check in failures(took_s)), "SURVIVED")
    except subprocess.CalledProcessError:
        return "DOES NOT COMPILE"
    finally:
        path.write_text(text)


def main(words: list[str]) -> int:
    """The exit status: how many bugs were not caught."""
    bugs = read_bugs()
    check(bugs)
    if words == ["--check"]:
        return 0
    copy_sources()
    build()
    make_environment()
    took_s: dict[str, float] = {}
    if failed := next(failures(took_s), None):
        raise SystemExit(f"without any bug, this fails already: {failed}; see {SCRATCH / 'output'}")
    chosen = [bug for bug in bugs if not words or any(word in bug.promise + bug.file for word in words)]
    caught = 0
    for bug in chosen:
        fate = try_bug(bug, took_s)
        caught += fate.startswith("caught")
        print(f"{fate:40} {bug.file}: {bug.promise}", flush=True)
    print(f"{caught} of {len(chosen)} caught")
    return len(chosen) - caught


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
