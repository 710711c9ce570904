import json
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.load import JobFileError, dump_job, load_job
from jobs.spec import Job
from tests.films import films
from tests.jobs.job_files import GOOD

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("name", ["demo", "kuairand", "movietweetings"])
def test_the_jobs_that_come_with_freshet_are_right(name: str) -> None:
    assert load_job(JOBS / f"{name}.yaml").name == name


@pytest.mark.parametrize("name", ["demo", "kuairand", "movietweetings"])
def test_a_job_that_was_written_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    job = load_job(JOBS / f"{name}.yaml", ["kafka.client.sasl.jaas.config=$${HOME}${A"])
    file = tmp_path / "job.yaml"
    file.write_text(dump_job(job))
    assert load_job(file) == job


def test_rates_stand_under_texts_numbers_and_truth_values(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(GOOD + "joiner: {negatives: {by: {item.category: {3: 1, true: 0.5, sports: 0.2}}}}\n")
    assert load_job(file).joiner.negatives.by == {"item.category": {"3": 1.0, "true": 0.5, "sports": 0.2}}


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="there is no such file"):
        load_job(tmp_path / "none.yaml", ["ps.shards=3"])


def test_values_come_from_the_environment_with_the_type_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDS", "3")
    monkeypatch.setenv("BROKER", "kafka")
    file = tmp_path / "job.yaml"
    file.write_text(f"{GOOD}ps: {{shards: '${{SHARDS}}'}}\nkafka: {{bootstrap: '${{BROKER}}:9092'}}\n")
    job = load_job(file)
    assert (job.ps.shards, job.kafka.bootstrap) == (3, "kafka:9092")


_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_keys = st.sampled_from(
    [
        *("name", "schema", "features", "labels", "crosses", "tables", "of", "from", "type", "ps", "shards"),
        *(
            "addresses",
            "traffic",
            "kind",
            "speed",
            "kafka",
            "client",
            "bootstrap",
            "boundaries",
            "x",
            "joiner",
        ),
        *("model", "hidden", "optimizer", "default_table", "sync", "action", "metrics_address"),
    ]
)
_values = st.recursive(
    _scalars | st.sampled_from(["float", "user.x", "a:1", "replay", "click", "100x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(_values)
@example(
    {
        "name": "x",
        "schema": {"features": {"x": {"from": "user.x", "boundaries": [1, [2]]}}, "labels": {"x": 1}},
    }
)
@example({"name": "x", "schema": {"features": [], "labels": 3, "tables": None}, "ps": {"addresses": [None]}})
@example(
    {
        "name": "x",
        "schema": {"features": {"a": {"from": 3}}, "labels": {}, "crosses": {"c": {"of": {"x": 1}}}},
    }
)
def test_no_values_make_loading_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "values.yaml"
    file.write_text(json.dumps(value, ensure_ascii=False).replace("NaN", ".nan").replace("Infinity", ".inf"))
    with pytest.raises(JobFileError):
        load_job(file)


def test_what_a_run_reads_has_the_order_of_the_job_file() -> None:
    """The first label is the one that is shown."""
    labels = {name: {"action": name} for name in ("sale", "click")}
    job = Job.model_validate(films(schema={**films()["schema"], "labels": labels}))
    assert list(yaml.safe_load(dump_job(job))["schema"]["labels"]) == ["sale", "click"]
