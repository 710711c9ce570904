"""What a run says of itself."""

import json

import pytest

from jobs.load import load_job
from jobs.run import example_request
from jobs.spec import Job
from pipelines.records import decode_request
from tests.films import films
from tests.jobs.test_load import JOBS

TEXT_IDS = films()["schema"] | {"features": {"sku": {"from": "item.item_id", "type": "string"}}}


@pytest.mark.parametrize(
    "job",
    [
        *(load_job(JOBS / f"{name}.yaml") for name in ("demo", "kuairand", "movietweetings")),
        Job.model_validate(films(schema=TEXT_IDS)),
        Job.model_validate(films(schema=TEXT_IDS | {"features": {"user_id": {"from": "user.user_id"}}})),
    ],
    ids=["demo", "kuairand", "movietweetings", "text-ids", "no-item-features"],
)
def test_the_printed_question_is_one_that_the_job_takes(job: Job) -> None:
    question = json.loads(example_request(job)) | {"request_id": "r", "ts": 1}
    first, second = decode_request(json.dumps(question).encode(), job.schema_).items
    assert first.item_id != second.item_id
