"""What `make` promises before anything is set up."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
TARGETS = ("setup", "demo", "test", "lint", "sanitize", "mutants", "bench", "clean")
PACKAGES = {
    "Python 3.11": "python3.11",
    "JDK": "openjdk-17-jdk-headless",
    "Maven": "maven",
    "C++20": "g++",
}
LONG_AGO_S = 1_600_000_000
JAVA_17 = "echo 'openjdk version \"17.0.15\"' >&2"
FRESHET = """trap 'echo INT >ended; exit 0' INT
trap 'echo TERM >ended; exit 0' TERM
echo "$*" >told
[ -z "$WAIT" ] || while :; do /bin/sleep 0.05; done"""


@pytest.fixture
def make(tmp_path):
    """`make(*arguments, path=…)` in `make.clone`, a copy of what is there before the set-up."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / ".ci", clone / ".ci")
    (clone / "ps" / "native").mkdir(parents=True)
    for name in ("Makefile", "pom.xml", "pyproject.toml", "requirements.txt", "ps/native/CMakeLists.txt"):
        shutil.copy(ROOT / name, clone / name)
        os.utime(clone / name, (LONG_AGO_S, LONG_AGO_S))

    def run(*arguments, path=os.environ["PATH"]):
        variables = {"PATH": str(path), "LC_ALL": "C"}
        command = [shutil.which("make"), *arguments]
        return subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, timeout=60)

    run.clone = clone
    return run


@pytest.fixture
def bare(tmp_path):
    """A path with the few tools that every machine has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sed", "expand", "touch", "mkdir", "rm"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


@pytest.fixture
def set_up(make, bare):
    """The clone as after `make setup`, with a `freshet` that writes down what it is told and what ends it."""
    stamps = (".venv/packages.done", ".venv/command.done", ".cache/native/done", ".cache/jars/done")
    for age_s, name in enumerate(stamps):
        stamp = make.clone / name
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        os.utime(stamp, (LONG_AGO_S + age_s + 1, LONG_AGO_S + age_s + 1))
    (make.clone / ".venv" / "bin").mkdir()
    add(make.clone / ".venv" / "bin", "freshet", FRESHET)
    for name, text in {"python3.11": 'echo "$0"', "java": JAVA_17, "mvn": "exit 1", "c++": ""}.items():
        add(bare, name, text)
    return make.clone


def add(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "bench"])
def test_one_message_names_everything_that_is_missing_before_anything_is_done(make, bare, target):
    before = files(make.clone)
    done = make(target, path=bare)
    assert done.returncode != 0
    assert done.stdout == ""
    install = re.search("^On Debian: sudo apt-get install (.*)$", done.stderr, re.MULTILINE)
    for thing, package in PACKAGES.items():
        assert done.stderr.count(thing) == 1, thing
        assert package in install[1].split()
    assert files(make.clone) == before


def test_what_is_there_is_not_asked_for(make, bare):
    for name in ("c++", "mvn"):
        add(bare, name, "exit 0")
    message = make("setup", path=bare).stderr
    assert "JDK" in message
    assert "Python" in message
    assert "Maven" not in message
    assert "C++" not in message


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.21", "16"])
def test_an_old_java_counts_as_missing(make, bare, version):
    add(bare, "java", f"echo 'openjdk version \"{version}\" 2021-03-16' >&2")
    assert "a JDK, 17 or newer" in make("setup", path=bare).stderr


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_a_newer_java_will_do(make, bare, version):
    said = f'Picked up JAVA_TOOL_OPTIONS: -Dversion=8\nopenjdk version "{version}" 2025-04-15'
    add(bare, "java", f"echo '{said}' >&2")
    message = make("setup", path=bare).stderr
    assert "Maven" in message
    assert "JDK" not in message


def test_another_python_counts_as_missing(make, bare):
    add(bare, "python3", "exit 1")
    assert "Python 3.11" in make("setup", path=bare).stderr


def test_a_compiler_that_does_not_know_c_plus_plus_20_counts_as_missing(make, bare):
    add(bare, "g++", 'case "$*" in *c++20*) exit 1;; esac')
    assert "a compiler of C++20" in make("setup", path=bare).stderr


def test_make_alone_lists_the_targets_with_a_line_each(make, bare):
    done = make(path=bare)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == list(TARGETS)
    assert all(len(line.split()) > 4 for line in lines)


def test_every_target_that_a_document_names_exists():
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name for document in documents for name in re.findall(r"\bmake ([a-z]+)\b[` #]", document.read_text())
    }
    assert {"demo", "test"} <= named <= set(TARGETS)


def test_a_second_set_up_does_nothing(make, set_up, bare):
    before = {file: file.stat().st_mtime_ns for file in files(set_up)}
    done = make("setup", path=bare)
    assert (done.returncode, done.stderr) == (0, "")
    assert {file: file.stat().st_mtime_ns for file in files(set_up)} == before


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ([], "run jobs/demo.yaml --for 300"),
        (["DEMO_SECONDS=7"], "run jobs/demo.yaml --for 7"),
        (["DEMO_SECONDS=0"], "run jobs/demo.yaml"),
    ],
)
def test_the_demo_runs_for_the_time_that_was_asked(make, set_up, bare, chosen, told):
    assert make("demo", *chosen, path=bare).returncode == 0
    assert (set_up / "told").read_text().strip() == told


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)], ids=["ctrl-c", "kill"]
)
def test_a_signal_that_ends_the_demo_reaches_it_and_leaves_no_complaint(set_up, bare, send, number):
    variables = {"PATH": str(bare), "WAIT": "yes", "LC_ALL": "C"}
    demo = [shutil.which("make"), "demo"]
    with subprocess.Popen(
        demo,
        cwd=set_up,
        env=variables,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Who runs the tests in the background of a shell has it ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            wait_for((set_up / "told").exists, "the set-up to begin", 20)
            send(process.pid, number)
            complaint = process.communicate(timeout=20)[1]
        finally:
            process.kill()
    assert (set_up / "ended").read_text().strip() == number.name[3:]
    assert number == signal.SIGTERM or b"***" not in complaint
