"""A job file, and what is said of it when it is spoilt."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs.load import JobFileError, Problem, load_job

GOOD = """\
name: films
schema:
  features:
    user_id: {from: user.user_id}
    age: {from: user.age, type: float}
    hour: {from: context.hour}
  crosses:
    user_hour: {of: [user_id, hour]}
  labels:
    click: {action: click}
"""


def problems(tmp_path: Path, text: str, overrides: Sequence[str] = ()) -> list[Problem]:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(JobFileError) as error:
        load_job(file, overrides)
    assert error.value.exit_status == 2
    assert str(error.value) == "\n".join(map(str, error.value.problems))
    return error.value.problems


def lines(tmp_path: Path, text: str, overrides: Sequence[str] = ()) -> list[str]:
    return [str(each).removeprefix(f"{tmp_path}/") for each in problems(tmp_path, text, overrides)]
