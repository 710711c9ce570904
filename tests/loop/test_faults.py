"""Parts are killed in the middle; every impression is accounted for, once, and a stopped run goes on."""

import csv
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loop.conftest import JOBS, Started, processes_of
from tests.waiting import wait_for

pytestmark = pytest.mark.stack

RATINGS = 24_000


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings of films as MovieLens writes them: every other film is a good one."""
    rng = random.Random(3)
    file = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        for number in range(RATINGS):
            user, film = rng.randrange(400), rng.randrange(200)
            likes = rng.random() < (0.8 if film % 2 else 0.2)
            writer.writerow([user, film, 5.0 if likes else 2.0, 1_000_000_000 + 7 * number])
    return file


@pytest.mark.timeout(900)
def test_whatever_is_killed_every_impression_is_accounted_for_once(
    start: Callable[..., Started], ratings: Path
) -> None:
    several = ("joiner.parallelism", "joiner.task_managers", "trainer.workers", "serving.replicas")
    settings = (f"traffic.path={ratings}", "snapshots.interval_s=5", *(f"{each}=2" for each in several))
    run = start(
        JOBS / "movietweetings.yaml",
        "--until-drained",
        *(part for each in settings for part in ("--set", each)),
    )
    run.wait_until_ready()
    victims = ("taskmanager-0", "ps-1", "trainer-0", "replica-0", "broker", "jobmanager")
    for number, victim in enumerate(victims, 1):
        share = number / (len(victims) + 2)
        wait_for(lambda share=share: run.traffic()["impressions"] > share * RATINGS, "traffic to go on")
        run.kill(victim)
    assert run.finish(600) == 0, run.said
    summary = run.summary()
    assert summary["accounting"]["in"] == summary["accounting"]["out"] == summary["examples"] == RATINGS
    assert summary["accounting"]["closes"], summary["accounting"]
    assert summary["auc_online"] > 0.6
    run.assert_nothing_is_left()


@pytest.mark.timeout(900)
def test_a_stopped_run_goes_on_where_it_stopped(start: Callable[..., Started], ratings: Path) -> None:
    arguments = ("--set", f"traffic.path={ratings}", "--set", "traffic.speed=2000")
    first = start(JOBS / "movietweetings.yaml", *arguments)
    first.wait_until_ready()
    wait_for(lambda: first.traffic()["impressions"] > 2000, "some traffic")
    # Not even a chance to say goodbye.
    os.kill(first.process.pid, signal.SIGKILL)
    wait_for(lambda: not processes_of(first.directory), "the parts to die with their supervisor", 30)
    before = first.traffic()["impressions"]

    arguments = ("--set", f"traffic.path={ratings}", "--until-drained")
    second = start(JOBS / "movietweetings.yaml", *arguments, resume=first)
    second.wait_until_ready()
    assert second.finish(600) == 0, second.said
    assert 2000 < before < RATINGS
    accounting = second.summary()["accounting"]
    assert accounting["closes"], accounting
    # What the killed source had written and not noted comes twice; at this speed the joiner has forgotten it.
    assert accounting["out"] == accounting["in"] - accounting["dead"] == RATINGS
    assert set(accounting["dead_by_reason"]) <= {"late"}
    second.assert_nothing_is_left()
