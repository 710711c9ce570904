"""What a mistake in a job file is told as: one sentence, with its place and what would be right."""

import json
from pathlib import Path

import pytest

from tests.jobs.job_files import GOOD, lines, problems


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


def test_problems_are_data_for_programs(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, GOOD.replace("type: float", "type: flot"))
    assert (problem.file, problem.line, problem.column) == (str(tmp_path / "job.yaml"), 5, 33)
    assert (problem.path, problem.value, problem.suggestion) == ("schema.features.age.type", "flot", "float")
    json.dumps(problem.value)
