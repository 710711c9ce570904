from pathlib import Path

import pytest

from jobs.load import JobFileError, load_job
from jobs.validation.meaning import check
from jobs.validation.replayable import check_columns, check_data

JOB = """\
name: films
schema:
  features:
    user_id: {from: user.user_id}
    item_id: {from: item.item_id}
    year: {from: item.year}
  labels:
    like: {action: like}
traffic: {kind: replay}
"""


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    return file


def test_a_feature_that_the_data_do_not_have_is_a_mistake_at_its_line(tmp_path: Path, job_file: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,4\n")
    for checks in ((check, check_columns), (check, check_data)):
        with pytest.raises(JobFileError) as error:
            load_job(job_file, [f"traffic.path={tmp_path}"], checks)
        assert str(error.value) == (
            f"{job_file}:6:18: schema.features.year.from: is in no request: the data have item.item_id "
            "(got 'item.year')"
        )


def test_data_that_are_not_there_are_a_mistake_of_the_path(tmp_path: Path, job_file: Path) -> None:
    for checks in ((check, check_columns), (check, check_data)):
        with pytest.raises(JobFileError) as error:
            load_job(job_file, [f"traffic.path={tmp_path}/none"], checks)
        (problem,) = error.value.problems
        assert str(problem).startswith(
            f"--set traffic.path={tmp_path}/none: traffic.path: there is no {tmp_path}/none; "
            "a KuaiRand directory"
        )


def test_a_path_that_is_not_given_matters_only_when_the_job_is_run(job_file: Path) -> None:
    job = load_job(job_file)
    assert check_data(job) == []
    (finding,) = check_columns(job)
    assert finding.message.startswith("is not set: name what to replay")


def test_other_traffic_needs_no_data(job_file: Path) -> None:
    job = load_job(job_file, ["traffic.kind=none"])
    assert check_data(job) == check_columns(job) == []
