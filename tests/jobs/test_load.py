import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.load import JobFileError, Problem, dump_job, load_job
from jobs.spec import Job

JOBS = Path(__file__).parents[2] / "jobs"

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


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "{categry: {3: 0.5}}",
            "job.yaml:11:27: joiner.negatives.by.categry: must be `user.KEY`, `context.KEY` or `item.KEY`",
        ),
        (
            "{itm.category: {3: 0.5}}",
            "job.yaml:11:27: joiner.negatives.by.itm.category: must be `user.KEY`, `context.KEY` or "
            "`item.KEY` (did you mean item.category?)",
        ),
        (
            "{item.category: {3: 2}}",
            "job.yaml:11:46: joiner.negatives.by.item.category.3: must be a number above 0 and at most 1 "
            "(got 2)",
        ),
    ],
)
def test_a_wrong_rate_or_field_is_said_with_its_place(tmp_path: Path, by: str, expected: str) -> None:
    assert lines(tmp_path, GOOD + f"joiner: {{negatives: {{by: {by}}}}}\n") == [expected]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("type: float", "type: flot"),
            "job.yaml:5:33: schema.features.age.type: must be int, string or float "
            "(got 'flot'; did you mean float?)",
        ),
        (
            ("from: user.age", "form: user.age"),
            "job.yaml:5:11: schema.features.age.form: is unknown; schema.features.age may have "
            "from, type, many, boundaries, table (did you mean from?)",
        ),
        (
            ("{action: click}", "{action: click, window_s: -1}"),
            "job.yaml:10:38: schema.labels.click.window_s: must be a number above 0 (got -1)",
        ),
        (
            ("{action: click}", "{}"),
            "job.yaml:10:5: schema.labels.click.action: is missing: "
            "write which action makes it 1, such as `action: click`",
        ),
        (
            ("name: films", "name: My Films"),
            "job.yaml:1:7: name: must be lower-case letters, digits and hyphens "
            "(at most 63, a hyphen not first) (got 'My Films'; did you mean my-films?)",
        ),
        (
            ("name: films\n", "kafka: {partitions: 3}\n"),
            "job.yaml:1:1: name: is missing: write what the recommender is called, such as `name: films`",
        ),
        (
            ("from: context.hour", "from: contxt.hour"),
            "job.yaml:6:18: schema.features.hour.from: must be `user.KEY`, `context.KEY` or `item.KEY` "
            "(got 'contxt.hour'; did you mean context.hour?)",
        ),
        (
            ("[user_id, hour]", "[user_id]"),
            "job.yaml:8:21: schema.crosses.user_hour.of: must be a list of at least 2 texts, such as [a, b] "
            "(got [user_id])",
        ),
        (
            ("[user_id, hour]", "[user_id, huor]"),
            "job.yaml:8:31: schema.crosses.user_hour.of[1]: is not a feature; a cross is made of "
            "user_id or hour (got 'huor'; did you mean hour?)",
        ),
    ],
)
def test_one_mistake_is_one_sentence_at_its_place(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    assert GOOD.count(change[0]) == 1
    assert lines(tmp_path, GOOD.replace(*change)) == [expected]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "ps: {shards: many}",
            "11:14: ps.shards: must be a whole number of at least 1 and at most 1024 (got 'many')",
        ),
        (
            "ps: {shards: true}",
            "11:14: ps.shards: must be a whole number of at least 1 and at most 1024 (got true)",
        ),
        (
            "ps: {shards: 1.5}",
            "11:14: ps.shards: must be a whole number of at least 1 and at most 1024 (got 1.5)",
        ),
        ("ps: {addresses: x}", "11:17: ps.addresses: must be a list of texts, such as [a, b] (got 'x')"),
        ("ps: [1]", "11:5: ps: must be a block of keys (got [1])"),
        ("ps:", "11:1: ps: must be a block of keys, and is empty"),
        ("sync: {interval_s: .inf}", "11:20: sync.interval_s: must be a number above 0 (got inf)"),
        ("sync: {interval_s: .nan}", "11:20: sync.interval_s: must be a number above 0 (got nan)"),
        (
            "sync: {interval_s: 5s}",
            "11:20: sync.interval_s: must be a number above 0 (got '5s'; did you mean 5?)",
        ),
        (
            "sync: {dense_interval_s: no}",
            "11:26: sync.dense_interval_s: must be a number above 0 or left out (got 'no')",
        ),
        (
            "traffic: {speed: 10ms}",
            "11:18: traffic.speed: must be a number above 0, a speed-up such as 100x or max (got '10ms')",
        ),
        (
            "traffic: {speed: mx}",
            "11:18: traffic.speed: must be a number above 0, a speed-up such as 100x or max "
            "(got 'mx'; did you mean max?)",
        ),
        (
            "serving: {rows: float64}",
            "11:17: serving.rows: must be float32, float16 or int8 (got 'float64'; did you mean float16?)",
        ),
        (
            "ps: {threads: 0}",
            "11:15: ps.threads: must be a whole number of at least 1 and at most 64 (got 0)",
        ),
        (
            "kafka: {client: {linger.ms: 5}}",
            "11:29: kafka.client.linger.ms: must be text: put it in quotes",
        ),
        (
            "window_s: 5",
            "11:1: window_s: is not a key of a job file; it belongs to schema.labels.NAME, "
            "schema.tables.NAME.admission or schema.default_table.admission",
        ),
        (
            "trafic: {kind: none}",
            "11:1: trafic: is unknown; a job file may have name, seed, kafka, schema, joiner, model, "
            "trainer, ps, sync, snapshots, serving, traffic, dashboard, kubernetes (did you mean traffic?)",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_valid(tmp_path: Path, block: str, expected: str) -> None:
    assert lines(tmp_path, f"{GOOD}{block}\n") == [f"job.yaml:{expected}"]


def test_five_different_mistakes_are_all_named_at_once(tmp_path: Path) -> None:
    text = (
        GOOD.replace("type: float", "type: flot")
        .replace("[user_id, hour]", "[user_id, houre]")
        .replace("from: context.hour", "from: context.hour, tabel: x")
    )
    text += "ps: {shards: 0}\nserving: {addresses: [localhost]}\n"
    assert [each.split(": ")[0:2] for each in lines(tmp_path, text)] == [
        ["job.yaml:5:33", "schema.features.age.type"],
        ["job.yaml:6:32", "schema.features.hour.tabel"],
        ["job.yaml:8:31", "schema.crosses.user_hour.of[1]"],
        ["job.yaml:11:14", "ps.shards"],
        ["job.yaml:12:23", "serving.addresses[0]"],
    ]


def test_what_follows_from_a_mistake_is_no_mistake_of_its_own(tmp_path: Path) -> None:
    assert len(lines(tmp_path, GOOD.replace("features:", "feature:"))) == 1
    assert len(lines(tmp_path, GOOD.replace("schema:", "scheme:"))) == 1
    assert len(lines(tmp_path, GOOD.replace("hour: {from: context.hour}", "hour: 5"))) == 1
    wrong_type = GOOD.replace("type: float", "type: flot, boundaries: [1, 2]")
    assert len(lines(tmp_path, wrong_type)) == 1
    assert len(lines(tmp_path, f"{GOOD}ps: {{shards: x, addresses: ['a:1', 'a:2', 'a:3']}}\n")) == 1


def test_a_mistake_in_the_yaml_does_not_hide_those_in_the_job(tmp_path: Path) -> None:
    text = (
        GOOD.replace("type: float", "type: flot, type: int") + "seed: ${FRESHET_NOT_SET}\nps: {shards: 0}\n"
    )
    found = [each.split(": ")[1] for each in lines(tmp_path, text)]
    assert found == ["schema.features.age.type", "schema.features.age.type", "seed", "ps.shards"]


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, f"{GOOD}kafka: {{client: {{sasl.password: 31337}}}}\n")
    assert "31337" not in line
    (line,) = lines(tmp_path, f"{GOOD}kafka: {{client: {{}}}}\n", ["kafka.client.password=31337"])
    assert "31337" not in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "job.yaml:1:1: is empty: a job file needs at least `name` and `schema` (see jobs/demo.yaml)"),
        (
            "# nothing\n",
            "job.yaml:1:1: is empty: a job file needs at least `name` and `schema` (see jobs/demo.yaml)",
        ),
        ("- a\n- b\n", "job.yaml:1:1: must be a block of keys, such as `name: films` (got [a, b])"),
        ("films\n", "job.yaml:1:1: must be a block of keys, such as `name: films` (got 'films')"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_what_is_needed(tmp_path: Path, text: str, expected: str) -> None:
    assert lines(tmp_path, text) == [expected]
    assert lines(tmp_path, text, ["ps.shards=3"])[0] == expected


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


def test_problems_are_data_for_programs(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("type: float", "type: flot"))
    assert (problem.file, problem.line, problem.column) == (str(tmp_path / "job.yaml"), 5, 33)
    assert (problem.path, problem.value, problem.suggestion) == ("schema.features.age.type", "flot", "float")
    json.dumps(problem.value)


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
