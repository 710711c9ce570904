"""What expressions answer. The table is read by the tests of both engines."""

from pathlib import Path

import orjson
import pytest

from pipelines.join import rules
from pipelines.join.expressions import MAX_DEPTH, Expression, ExpressionError
from pipelines.join.labels import Labels
from pipelines.records import decode_action, float32, parse_request

TABLE = orjson.loads((Path(__file__).parents[2] / "golden" / "expressions.json").read_bytes())


@pytest.fixture
def read(make_job):
    """`read(label, features, actions)`: what a label makes of an action on the first item."""

    def read(label, features=TABLE["features"], actions=TABLE["actions"]):
        labels = Labels(make_job(labels={"label": {"action": "play", **label}}).schema_).all
        request = parse_request(orjson.dumps(features))
        return rules.read(labels, request, request.items[0], decode_action(orjson.dumps(actions)))

    return read


@pytest.fixture
def ask(make_cluster):
    """`ask(label, features, actions)`: what either engine makes of an action, in the words of the table."""

    def ask(label, features=TABLE["features"], actions=TABLE["actions"]):
        try:
            cluster = make_cluster(1.0, {"label": {"action": "play", **label}}, max_event_bytes=1 << 20)
        except ExpressionError:
            return "wrong"
        cluster.send(orjson.dumps(features))
        cluster.send(orjson.dumps(actions), is_action=True)
        if cluster.counts["rule_errors"]:
            return "fails"
        if "kind" not in label:
            return bool(cluster.examples)
        return cluster.examples[0].labels["label"]

    return ask


@pytest.mark.parametrize("row", TABLE["expressions"], ids=lambda row: row.get("when") or row.get("value"))
def test_an_expression_answers_as_the_table_says(ask, row):
    expected = row["result"]
    kind = {"kind": "number"} if "value" in row else {}
    label = {key: row[key] for key in ("when", "value") if key in row}
    assert ask(label | kind) == (float32(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "item.length * 2 > value",
            "boolean",
            "column 13: found no matching overload for '_*_' applied to '(dyn, int)'; "
            "numbers are doubles: write 2.0, not 2",
        ),
        ("value >\n  2.0 * valeu", "boolean", "line 2, column 9: undeclared reference to 'valeu'"),
        ("value", "boolean", "its result is a double, not a boolean"),
        ("value > 1", "number", "its result is a bool, not a number"),
        (
            "(" * 100 + "1.0" + ")" * 100,
            "number",
            "CANCELLED: Expression recursion limit exceeded. limit: 32",
        ),
    ],
)
def test_what_is_wrong_with_an_expression_is_said_with_its_place(text, kind, message):
    with pytest.raises(ExpressionError) as error:
        Expression(text, kind)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("label", "failure"),
    [
        ({"when": "item.price > 3"}, 'NOT_FOUND: Key not found in map : "price"'),
        ({"when": "item.one"}, "its result is a double, not a boolean"),
        ({"kind": "number", "value": "item.word"}, "its result is a string, not a number"),
        ({"kind": "number", "value": "item.huge"}, "`value` is 1e+300: examples hold 32-bit floats"),
    ],
)
def test_a_failure_names_its_label_and_why(read, label, failure):
    reading = read(label)
    assert (reading.values, reading.failure) == ({}, f"label `label`: {failure}")


def test_a_value_is_not_asked_for_when_the_action_does_not_count(read):
    reading = read({"kind": "number", "when": "value > 100", "value": "item.price"})
    assert (reading.values, reading.failures) == ({}, {})


def test_what_is_nested_too_deep_is_null(ask):
    nested: list = []
    for _ in range(200):
        nested = [nested]
    features = {**TABLE["features"], "context": {"deep": nested}}

    def is_null(depth):
        # The first two levels are `context` and the outermost list.
        return ask({"when": "context.deep" + "[0]" * (depth - 2) + " == null"}, features)

    assert is_null(MAX_DEPTH) is False
    assert is_null(MAX_DEPTH + 1) is True


@pytest.mark.parametrize(("length", "answer"), [(9_999, False), (10_000, "fails"), (100_000, "fails")])
def test_an_expression_over_a_long_list_fails_and_does_not_hold_up_the_join(ask, length, answer):
    features = {**TABLE["features"], "context": {"long": [0] * length}}
    assert ask({"when": "context.long.exists(x, x < 0)"}, features) == answer
