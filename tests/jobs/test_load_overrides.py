"""`--set KEY=VALUE`: what it changes, and that it is named when it is wrong."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.load import JobFileError, load_job
from jobs.spec import Job
from tests.jobs.job_files import GOOD, lines


def test_set_changes_makes_and_replaces_values(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(GOOD + "model: {hidden: [8, 4]}\n")
    overrides = [
        *("ps.shards=3", "model.hidden.1=2", "traffic.speed=100x", "joiner.negatives.rate=0.5"),
        *("schema.features.age.boundaries=[18, 30]", "sync={interval_s: 2}", "kafka.bootstrap=a:1,b:2"),
        "kafka.client.security.protocol=SSL",
    ]
    job = load_job(file, overrides)
    assert (job.ps.shards, job.model.hidden, job.traffic.speed) == (3, (8, 2), 100)
    assert (job.joiner.negatives.rate, job.sync.interval_s) == (0.5, 2)
    assert job.schema_.features["age"].boundaries == (18, 30)
    assert job.kafka.bootstrap == "a:1,b:2"
    assert job.kafka.client == {"security.protocol": "SSL"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("shards", "--set shards: must be KEY.KEY=VALUE, such as traffic.speed=100x"),
        ("=3", "--set =3: must be KEY.KEY=VALUE"),
        ("ps..shards=3", "--set ps..shards=3: must be KEY.KEY=VALUE"),
        ("ps.shard=3", "--set ps.shard=3: ps.shard: is unknown; ps may have shards, "),
        (
            "joiner.input.kid=files",
            "--set joiner.input.kid=files: joiner.input.kid: is unknown; joiner.input may have kind,",
        ),
        ("ps.shards=0", "--set ps.shards=0: ps.shards: must be a whole number of at least 1"),
        ("ps.shards=[", "--set ps.shards=[: is not YAML"),
        ("name.x=1", "--set name.x=1: name is not a block of keys, so it has no x"),
        (
            "model.hidden.5=1",
            "--set model.hidden.5=1: model.hidden is a list of 1: 5 must be a number below that",
        ),
        ("trafic.path=x", "--set trafic.path=x: trafic: is unknown;"),
        ("traffic.path=${FRESHET_NOT_SET}", "the environment variable FRESHET_NOT_SET is not set"),
        ("schema.labels.click.action=", "schema.labels.click.action: must be text or a list of texts"),
    ],
)
def test_mistakes_of_set_name_it_as_their_place(tmp_path: Path, override: str, says: str) -> None:
    (line,) = lines(tmp_path, GOOD + "model: {hidden: [8]}\n", [override])
    assert line.startswith("--set")
    assert says in line


_override = st.text(alphabet="ab.=[]{}:,'\"0 -", max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        _override,
        st.builds(
            "{}={}".format, st.sampled_from(["name", "ps.shards", "model.hidden.0", "schema"]), _override
        ),
    )
)
def test_an_override_gives_a_job_or_mistakes_that_name_it(
    tmp_path_factory: pytest.TempPathFactory, override: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "good.yaml"
    file.write_text(GOOD + "model: {hidden: [8]}\n")
    loaded = outcome(file, override)
    if isinstance(loaded, JobFileError):
        assert loaded.problems
        assert {each.file for each in loaded.problems} == {f"--set {override}"}
        assert all(str(each).startswith(f"--set {override}: ") for each in loaded.problems)
        return
    key, _, text = override.partition("=")
    *blocks, last = (int(k) if k.isdigit() else k for k in key.strip().split("."))
    values = yaml.safe_load(file.read_text())
    block = values
    for each in blocks:
        block = block.setdefault(each, {}) if isinstance(block, dict) else block[each]
    block[last] = yaml.safe_load(text)
    file.write_text(yaml.safe_dump(values))
    assert load_job(file) == loaded


def outcome(file: Path, override: str) -> Job | JobFileError:
    try:
        return load_job(file, [override])
    except JobFileError as error:
        return error
