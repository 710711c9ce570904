"""`freshet run`: the whole loop of one job, from the first process to the summary."""

import fcntl
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import KafkaException

from jobs.archive import archive_job, with_archive
from jobs.backfill import check_examples, check_files, with_ends, with_files
from jobs.drain import Drain
from jobs.errors import JobError
from jobs.load import dump_job
from jobs.observe import Observation, Observer
from jobs.screen import Screen
from jobs.spec import Job
from jobs.stack.addresses import resolve
from jobs.stack.broker import check_broker, create_topics, jars, java
from jobs.stack.file_systems import check_file_system
from jobs.stack.flink import Flink
from jobs.stack.layout import RunDirectory, latest_link, new_run_directory
from jobs.stack.part import State
from jobs.stack.plan import plan
from jobs.stack.rest import FlinkUnreachableError, SavepointError
from jobs.stack.stopping import Stopping
from jobs.stack.supervisor import Supervisor
from jobs.summary.summarize import print_summary, summarize
from jobs.traffic.check import check_path
from jobs.traffic.paths import BadPathError

FREE_BYTES = 1 << 30
"""A run that starts with less would soon stand still."""
TICK_S = 0.1
OBSERVE_S = 1.0
DRAIN_S = 60.0
"""After traffic has ended, what is still under way may take so long to be learnt;"""
DRAIN_ALL_S = 300.0
"""or so long with `until_drained`."""
SAVEPOINT_S = 10.0
"""A savepoint takes as long as a checkpoint; one that takes longer than this is not waited for."""
_LEARNERS = ("ps", "trainer", "replica", "joiner", "dashboard", "traffic")


@dataclass(frozen=True)
class RunOptions:
    """How `freshet run` was called."""

    run_dir: Path | None = None
    for_s: float | None = None
    """Seconds of traffic, counted from when every part is ready; None: until Ctrl-C."""
    until_drained: bool = False
    summary: Path | None = None
    resume: bool = False
    is_json: bool = False


def run(job: Job, options: RunOptions) -> int:
    """Run the loop; the exit status. Raises JobError with a sentence; then nothing is left running."""
    _check_end(job, options)
    check(job, is_new=not options.resume)
    directory = _directory(job, options)
    _check_disk(directory.path)
    with _locked(directory):
        directory.create()
        resolved = with_files(with_archive(resolve(job), directory))
        resolved = with_ends(resolved, directory, resume=options.resume)
        _write_job(resolved, directory)
        screen = Screen(options.is_json)
        parts = plan(job, resolved, directory)
        supervisor = Supervisor(job.name, directory, parts, screen.part)
        try:
            return Run(job, resolved, directory, options, supervisor, screen).to_the_end()
        finally:
            screen.close()


def _check_end(job: Job, options: RunOptions) -> None:
    if options.until_drained and job.traffic.kind != "replay":
        raise JobError(
            "--until-drained needs traffic that comes to an end, a replay; "
            f"traffic.kind is {job.traffic.kind}. Use --for, or Ctrl-C.",
            exit_status=2,
        )


def check(job: Job, *, is_new: bool) -> None:
    """Raise JobError for what can be known to fail at once; `is_new`: it resumes nothing."""
    try:
        check_path(job)
    except BadPathError as error:
        raise JobError(str(error), exit_status=2) from error
    java()
    jars("connector")
    if job.joiner.archive is not None:
        jars("archive")
    if job.joiner.flink_address is None:
        for key, url in _urls(with_files(job)):
            check_file_system(key, url)
    check_files(with_files(job))
    check_broker(job.kafka)
    if job.kafka.bootstrap != "embedded":
        create_topics(job.kafka)
        if is_new:
            check_examples(job)


def _urls(job: Job) -> Iterator[tuple[str, str]]:
    """Where the joiner keeps its state, and what it reads in place of topics."""
    if job.joiner.state_url is not None:
        yield "joiner.state_url", job.joiner.state_url
    if job.joiner.input is not None and job.joiner.input.kind == "files":
        yield "joiner.input.features", str(job.joiner.input.features)
        yield "joiner.input.actions", str(job.joiner.input.actions)


def _directory(job: Job, options: RunOptions) -> RunDirectory:
    try:
        if options.run_dir is not None:
            options.run_dir.mkdir(parents=True, exist_ok=True)
            return RunDirectory(options.run_dir.resolve())
        if not options.resume:
            return new_run_directory(job.name)
    except OSError as error:
        place = options.run_dir or Path("runs")
        raise JobError(f"{place}: the run directory can't be made: {error.strerror}.") from error
    if not latest_link(job.name).exists():
        raise JobError(f"--resume: {latest_link(job.name)} does not exist; name a run with --run-dir.", 2)
    return RunDirectory(latest_link(job.name).resolve())


def _check_disk(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < FREE_BYTES:
        raise JobError(
            f"{path}: the disk has {free >> 20} MB left, a run needs {FREE_BYTES >> 20} MB; "
            "make room, or name another place with --run-dir."
        )


@contextmanager
def _locked(directory: RunDirectory) -> Iterator[None]:
    with (directory.path / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JobError(f"{directory.path} is in use by another run; `freshet stop` ends it.") from error
        yield


def _write_job(job: Job, directory: RunDirectory) -> None:
    directory.write_private(directory.job_file, dump_job(job))


class Run:
    """One run: its phases are start, traffic, drain, summary, stop."""

    def __init__(
        self,
        given: Job,
        job: Job,
        directory: RunDirectory,
        options: RunOptions,
        supervisor: Supervisor,
        screen: Screen,
    ) -> None:
        self._given, self._job, self._directory, self._options = given, job, directory, options
        self._supervisor, self._screen = supervisor, screen
        self._interrupts = 0
        self._began_s = time.monotonic()
        self._flinks = {"joiner": Flink(job, directory)}
        if job.joiner.archive is not None:
            self._flinks["archive"] = Flink(archive_job(job), directory, is_archive=True)
        self._watch = Watch(Observer(job, directory.path))

    def to_the_end(self) -> int:
        """All phases; whatever happens, no process is left. 1: the sum of the impressions does not close."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        error: str | None = None
        status = 0
        try:
            status = self._phases()
        except InterruptedRunError:
            pass
        except (JobError, KafkaException) as failure:
            error = str(failure)
            raise
        finally:
            self._stop(error)
        return status

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupts += 1

    def _phases(self) -> int:
        self._tick_until(lambda: self._supervisor.is_ready)
        self._announce()
        self._watch.start()
        self._began_s = time.monotonic()
        try:
            self._tick_until(self._is_over)
        except InterruptedRunError:
            self._screen.note("Stopping. Ctrl-C again: at once, without a summary.")
        self._interrupts = 0
        if self._job.joiner.input is not None and not self._is_backfilled:
            self._screen.note("The backfill is not through, so no sum is drawn. --resume goes on with it.")
            return 1
        # On a broker of one's own a summary would read topics of any size: only when it is asked for.
        is_ours = self._job.traffic.kind != "none" or self._given.kafka.bootstrap == "embedded"
        if is_ours or self._options.summary or self._is_backfilled:
            is_drained = self._finish_traffic()
            closes = self._summarize()
            return 0 if closes and (is_drained or not self._options.until_drained) else 1
        return 0

    def _announce(self) -> None:
        address = f"http://{self._job.dashboard.address}"
        self._screen.note(f"Dashboard: {address}", dashboard=address)
        predict = f"http://{self._job.serving.addresses[0]}/v1/predict"
        self._screen.note(f"Ask it:    curl -s {predict} -d '{example_request(self._job)}'", predict=predict)
        self._screen.note(f"Logs:      {self._directory.logs}", run_dir=str(self._directory.path))

    def _tick_until(self, is_done: Callable[[], bool]) -> None:
        """Drive the supervisor until `is_done`; raises InterruptedRunError on Ctrl-C."""
        while not is_done():
            if self._interrupts:
                raise InterruptedRunError
            self._supervisor.tick(resume=self._options.resume)
            if (observation := self._watch.newest) is not None:
                self._screen.alive(observation, self._progress())
            time.sleep(TICK_S)

    def _progress(self) -> dict[str, Any]:
        try:
            traffic = orjson.loads((self._directory.path / "traffic.json").read_bytes())
        except (OSError, ValueError):
            traffic = {}
        counted = {name: traffic.get(name) for name in ("impressions", "impressions_total")}
        return {"seconds": time.monotonic() - self._began_s, **counted}

    @property
    def _is_backfilled(self) -> bool:
        return self._job.joiner.input is not None and self._supervisor.parts["joiner"].state == State.STOPPED

    def _is_over(self) -> bool:
        if self._is_backfilled:
            return True
        if self._options.for_s is not None and time.monotonic() - self._began_s >= self._options.for_s:
            return True
        traffic = self._supervisor.parts.get("traffic")
        return self._options.until_drained and (traffic is None or traffic.state == State.STOPPED)

    def _finish_traffic(self) -> bool:
        """End traffic, which closes all windows, and wait for what is still under way: did all of it end?"""
        self._supervisor.stop(["traffic"])
        patience_s = DRAIN_ALL_S if self._options.until_drained else DRAIN_S
        if self._is_backfilled:
            # Joining is faster than learning.
            patience_s = math.inf
        drain, deadline_s = Drain(self._job), time.monotonic() + patience_s
        self._screen.note("Waiting for the last examples to be learnt.")
        try:
            self._tick_until(lambda: drain.is_done() or time.monotonic() > deadline_s)
        finally:
            drain.close()
        is_drained = time.monotonic() <= deadline_s
        if not is_drained:
            self._screen.note(
                f"Not everything was learnt within {patience_s:.0f} s; the summary says what is left."
            )
        return is_drained

    def _summarize(self) -> bool:
        """Print and write the summary; whether the sum of the impressions closes."""
        try:
            summary = summarize(self._job, self._directory.path)
        except OSError as error:
            # Files of a backfill that only Flink reaches.
            self._screen.note(f"The sum can't be drawn: {error}")
            return True
        self._screen.close()
        text = orjson.dumps(summary, option=orjson.OPT_INDENT_2)
        for place in filter(None, (self._directory.path / "summary.json", self._options.summary)):
            try:
                place.write_bytes(text)
            except OSError as error:
                raise JobError(f"--summary: {place} can't be written: {error.strerror}.") from error
        if self._options.is_json:
            self._screen.note("summary", summary=summary)
        else:
            print_summary(summary)
        return bool(summary["accounting"]["closes"])

    def _stop(self, error: str | None) -> None:
        """Stop everything: what reads before what it reads from, so that nothing waits for the dead."""
        self._watch.stop()
        self._screen.close()
        supervisor = self._supervisor
        try:
            stopping = self._begin_savepoint("joiner")
            if self._interrupts < 2:
                supervisor.stop(_LEARNERS)
                self._end_savepoint("joiner", stopping)
                # Last, so that it has what the joiner has written.
                self._end_savepoint("archive", self._begin_savepoint("archive"))
                supervisor.stop(["archive", "taskmanager", "jobmanager"])
                supervisor.stop(["broker"])
            else:
                self._cancel("archive")
        finally:
            supervisor.kill()
            supervisor.finish(error)
            shutil.rmtree(self._directory.scratch, ignore_errors=True)

    def _begin_savepoint(self, role: str) -> Stopping | None:
        """Have a job stopped with a savepoint, from which `--resume` goes on, while other parts stop."""
        part = self._supervisor.parts.get(role)
        if self._interrupts > 1 or part is None or part.state != State.READY:
            self._cancel(role)
            return None
        try:
            return self._flinks[role].begin_stop(is_embedded=self._given.joiner.flink_address is None)
        except FlinkUnreachableError as error:
            self._without_savepoint(role, error)
            return None

    def _end_savepoint(self, role: str, stopping: Stopping | None) -> None:
        if stopping is None:
            return
        try:
            self._flinks[role].keep_savepoint(stopping.wait(SAVEPOINT_S))
        except (FlinkUnreachableError, SavepointError) as error:
            self._without_savepoint(role, error)

    def _without_savepoint(self, role: str, error: Exception) -> None:
        self._screen.note(f"No savepoint of the {role}: {error}. --resume goes on from the last checkpoint.")
        self._cancel(role)

    def _cancel(self, role: str) -> None:
        """Leave nothing on a cluster of the user's own; the embedded one ends with all it has."""
        part = self._supervisor.parts.get(role)
        if self._given.joiner.flink_address and part is not None and part.process is not None:
            self._flinks[role].cancel()


class InterruptedRunError(Exception):
    """Ctrl-C, or SIGTERM."""


class Watch:
    """Observes in a thread of its own: a part that does not answer must not hold up the supervisor."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._observe, name="observer", daemon=True)
        self.newest: Observation | None = None

    def start(self) -> None:
        """Begin to observe, about once a second."""
        self._thread.start()

    def stop(self) -> None:
        """Observe no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _observe(self) -> None:
        while not self._stopping.wait(OBSERVE_S):
            self.newest = self._observer.observe()


def example_request(job: Job) -> str:
    """A body for `POST /v1/predict`: two items, with a value for every feature."""
    request: dict[str, Any] = {"user": {}, "context": {}, "items": [{}, {}]}
    values: dict[str, tuple[Any, Any]] = {"int": (1, 2), "string": ("a", "b"), "float": (1.0, 2.0)}
    for feature in job.schema_.features.values():
        origin, key = feature.source.split(".", 1)
        places = request["items"] if origin == "item" else [request[origin]]
        for place, value in zip(places, values[feature.type], strict=False):
            place.setdefault(key, [value] if feature.many else value)
    for item_id, item in enumerate(request["items"], 1):
        item.setdefault("item_id", item_id)
    return orjson.dumps(request).decode()
