import numpy as np
import pytest

from model.features import Lists, slots, table_settings
from model.network import Network
from model.parse import ExampleParser
from model.requests import columns
from model.settings import ModelSettings
from pipelines.schema import ExampleSchema, LabelSettings
from ps.settings import TableSettings

TABLES = {"user_id": TableSettings(dim=2)}
MODEL = ModelSettings(hidden=(5, 3))
REQUESTS = [
    {
        "user": {"user_id": 1, "country": "DE", "liked": [3, 4], "words": ["a", "b"]},
        "context": {"hour": 9},
        "items": [{"item_id": 3, "price": -8.5}, {"item_id": 5, "length": 2, "marks": [4]}],
    },
    {"user": {"user_id": 2}, "context": {}, "items": [{"item_id": 3, "sizes": [0.1, 0.2]}]},
]
EXAMPLES = [(r["user"], r["context"], item) for r in REQUESTS for item in r["items"]]


def two_labels(schema, kind="binary") -> ExampleSchema:
    other = LabelSettings(action="buy", kind=kind)
    return schema.model_copy(update={"labels": {"click": schema.labels["click"], "buy": other}})


def make(schema, settings=MODEL):
    """A network, a lookup of REQUESTS, and rows and dense tensors without zeros."""
    network = Network(schema, settings, table_settings(schema, TABLES, TableSettings(dim=4)), seed=1)
    lookup = network.lookup(columns(schema, REQUESTS), 3)
    rng = np.random.default_rng(1)
    widths = {table: 3 if table == "user_id" else 5 for table in lookup.ids}
    rows = {t: rng.normal(0, 0.5, (len(i), widths[t])).astype(np.float32) for t, i in lookup.ids.items()}
    dense = {n: rng.normal(0, 0.5, t.shape).astype(np.float32) for n, t in network.initial_dense().items()}
    return network, lookup, rows, dense


def by_hand(schema, network, rows, lookup, dense, labels):
    """The formula of the module, example by example."""
    encoder = network._layout.encoder
    found = columns(schema, REQUESTS)
    ids, numbers = encoder.ids(found), encoder.numeric(found, 3)
    predictions = []
    for e in range(3):
        vectors, weights = [], []
        for slot in slots(schema):
            each = ids[slot.name]
            lists = each if isinstance(each, Lists) else Lists(each, np.ones(3, np.int64))
            mine = np.split(lists.values, np.cumsum(lists.lengths)[:-1])[e]
            table = [rows[slot.table][lookup.ids[slot.table].tolist().index(one)] for one in mine]
            mean = np.mean(table, axis=0)
            weights.append(mean[0])
            vectors.append(np.pad(mean[1:], (0, 4 - len(mean[1:]))))
        pairs = sum(v @ w for i, v in enumerate(vectors) for w in vectors[:i])
        x = np.sign(numbers[e]) * np.log1p(np.abs(numbers[e]))
        h = np.concatenate([*vectors, x])
        for i in range(2):
            h = np.maximum(h @ dense[f"layer_{i}/kernel"] + dense[f"layer_{i}/bias"], 0)
        factor = dense.get("factor", np.ones(labels))
        logit = (
            dense["bias"]
            + factor * (sum(weights) + pairs)
            + x @ dense["numeric"]
            + h @ dense["layer_2/kernel"]
        )
        is_number = [label.kind == "number" for label in schema.labels.values()]
        predictions.append(np.where(is_number, logit, 1 / (1 + np.exp(-logit))))
    return np.array(predictions)


@pytest.mark.parametrize(("labels", "kind"), [(1, "binary"), (2, "binary"), (2, "number")])
def test_predictions_follow_the_formula(schema, labels, kind):
    schema = schema if labels == 1 else two_labels(schema, kind)
    network, lookup, rows, dense = make(schema)
    found = network.predict(lookup, rows, network.tensors(dense))
    wanted = by_hand(schema, network, rows, lookup, dense, labels)
    assert list(found) == list(schema.labels)
    np.testing.assert_allclose(np.stack(list(found.values()), 1), wanted, rtol=1e-5)


@pytest.fixture
def parsed(schema, make_example):
    examples = [make_example(schema, *each, click=float(i != 1)) for i, each in enumerate(EXAMPLES)]
    return ExampleParser(schema).parse(examples)


def loss(network, lookup, rows, dense, examples):
    p = network.predict(lookup, rows, network.tensors(dense))["click"].astype(np.float64)
    y = examples.labels[:, 0]
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()


def test_gradients_are_those_of_the_summed_loss(schema, parsed):
    """Along a random direction, so short that no unit of the MLP switches, the loss changes as they say."""
    network, lookup, rows, dense = make(schema)
    learnt = network.learn(lookup, rows, dense, parsed, step=0)
    gradients = {table: gradient for table, (_, gradient) in learnt.tables.items()}
    for tensors, found in ((rows, gradients), (dense, learnt.dense)):
        for name, tensor in tensors.items():
            direction = np.random.default_rng(2).normal(0, 1e-3, tensor.shape).astype(np.float32)
            ends = [
                loss(network, lookup, rows | moved, dense | moved, parsed)
                for moved in ({name: tensor + direction}, {name: tensor - direction})
            ]
            slope = (found[name] * direction).sum()
            assert slope == pytest.approx((ends[0] - ends[1]) / 2, rel=0.02, abs=2e-5), name


def test_each_label_is_learnt_as_its_kind_says(schema, make_example):
    """The gradient of a label's bias is that of its outputs, summed: p - y, and number - value."""
    both = two_labels(schema, "number")
    labels, masks = {"click": 1.0, "buy": 7.0}, {"click": 1.0, "buy": 1.0}
    parsed = ExampleParser(both).parse(
        [make_example(both, *each, labels=labels, masks=masks) for each in EXAMPLES]
    )
    network, lookup, rows, dense = make(both)
    learnt = network.learn(lookup, rows, dense, parsed, step=0)
    wanted = [(learnt.predictions[name] - labels[name]).sum() for name in both.labels]
    np.testing.assert_allclose(learnt.dense["bias"], wanted, rtol=1e-4)


def test_learning_predicts_what_predicting_does(schema, parsed):
    network, lookup, rows, dense = make(schema)
    learnt = network.learn(lookup, rows, dense, parsed, step=0)
    predicted = network.predict(lookup, rows, network.tensors(dense))
    np.testing.assert_allclose(learnt.predictions["click"], predicted["click"], rtol=1e-6)


def test_dropout_is_for_learning_and_repeats_with_its_step(schema, parsed):
    network, lookup, rows, dense = make(schema, ModelSettings(hidden=(32,), dropout=0.5))
    outputs = [network.learn(lookup, rows, dense, parsed, step).predictions["click"] for step in (7, 7, 8)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0] != outputs[2]).any()


def test_l2_pulls_looked_up_rows_towards_zero(schema, parsed):
    network, lookup, rows, dense = make(schema)
    pulled = make(schema, MODEL.model_copy(update={"l2": 0.5}))[0]
    plain, with_l2 = (n.learn(lookup, rows, dense, parsed, 0).tables["user_id"][1] for n in (network, pulled))
    # User 1 is in two examples, user 2 in one.
    wanted = 0.5 * rows["user_id"] * np.array([[2.0], [1.0]])
    np.testing.assert_allclose(with_l2 - plain, wanted, atol=1e-6)


def test_without_hidden_layers_it_is_a_factorisation_machine(schema):
    network = make(schema, ModelSettings(hidden=()))[0]
    assert sorted(network.initial_dense()) == ["bias", "numeric"]


def test_initial_tensors_depend_on_the_seed_alone(schema):
    tables = table_settings(schema, {}, TableSettings(dim=4))
    first, again, other = (Network(schema, MODEL, tables, seed).initial_dense() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["layer_0/kernel"], again["layer_0/kernel"])
    assert (first["layer_0/kernel"] != other["layer_0/kernel"]).any()


def test_no_number_of_examples_needs_another_trace(schema):
    network, *_ = make(schema)
    for n in (1, 2, 5):
        requests = [{"items": [{"item_id": i}]} for i in range(n)]
        lookup = network.lookup(columns(schema, requests), n)
        rows = {t: np.zeros((len(i), 3 if t == "user_id" else 5), np.float32) for t, i in lookup.ids.items()}
        assert len(network.predict(lookup, rows, network.tensors(network.initial_dense()))["click"]) == n
