"""The whole loop over files of events: joined, learnt, added up, and over by itself."""

import random
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.films import FILMS
from tests.loop.conftest import Started

pytestmark = pytest.mark.stack

JOB = (
    FILMS
    + """
joiner:
  input: {kind: files, features: FOLDER/features, actions: FOLDER/actions.jsonl}
"""
)
REQUESTS, ITEMS = 400, 5
START_MS = 1_700_000_000_000
LAST_MS = START_MS + 1000 * REQUESTS


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A few minutes of years ago."""
    clicks, requests = [], []
    chance = random.Random(3)
    for number in range(REQUESTS):
        shown = {"request_id": f"r{number}", "ts": START_MS + 1000 * number, "user": {"user_id": number % 7}}
        requests.append(shown | {"items": [{"item_id": item} for item in range(ITEMS)]})
        if chance.random() < 0.3:
            click = {"request_id": f"r{number}", "item_id": chance.randrange(ITEMS), "action": "click"}
            clicks.append(click | {"ts": shown["ts"] + chance.randrange(9000)})
    clicks.append({"request_id": "", "item_id": 0, "action": "", "ts": LAST_MS})
    (tmp_path / "features").mkdir()
    for part in (0, 1):
        half = requests[part * REQUESTS // 2 : (part + 1) * REQUESTS // 2]
        (tmp_path / "features" / f"{part}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, half)))
    (tmp_path / "actions.jsonl").write_bytes(b"\n".join(map(orjson.dumps, clicks)))
    file = tmp_path / "films.yaml"
    file.write_text(JOB.replace("FOLDER", str(tmp_path)))
    return file


@pytest.mark.timeout(300)
def test_a_backfill_from_files_is_learnt_and_ends_by_itself(job: Path, start: Callable[..., Started]) -> None:
    run = start(job)
    assert run.finish(240) == 0, run.said
    accounting = run.summary()["accounting"]
    assert accounting["closes"]
    assert accounting["actions"]["closes"]
    assert accounting["in"] == REQUESTS * ITEMS
    # Those of the last ten seconds, and of the two by which events may be out of order, wait.
    assert 0 < accounting["waiting"] <= 13 * ITEMS
    assert accounting["dead"] == 0
    run.assert_nothing_is_left()
