"""Is training on masks unbiased? Simulated traffic through the real join, codec, parser, loss and network.

Clicks come soon; a like, a play time and a rating follow some of them, a purchase follows others much later,
often when its window has closed. Negatives are sampled by a field, with or without a cap per request. The
network learns the examples until nothing moves any more; then its mean of every label in every segment is
compared with that of all traffic, of which it has seen a sample. No Kafka, no Flink.

Run: PYTHONPATH=. python experiments/masks.py
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from model.features import fingerprint, table_settings
from model.network import Network
from model.parse import ExampleParser, Examples
from model.requests import columns
from model.settings import ModelSettings
from pipelines.codec import encode
from pipelines.example_pb2 import ExampleList
from pipelines.schema import CrossSettings, ExampleSchema
from pipelines.settings import JoinJob
from ps.dense import DenseTensors
from ps.settings import InitializerSettings, OptimizerSettings, ScheduleSettings, TableSettings
from ps.shard import table_seed
from ps.table import EmbeddingTable
from tests.pipelines.join.conftest import Cluster

START_MS = 1_764_000_000_000
GAP_S = 40.0
"""Mean time between two requests: those of some thirty wait at once."""
COUNTRIES, CATEGORIES = ("DE", "US"), ("film", "news", "sport")
ITEMS, CAP = 6, 2
BY_CATEGORY = {"by": {"item.category": {"film": 0.6, "news": 0.2}}, "rate": 0.4, "max_per_request": CAP}
BY_LOYALTY = {"by": {"user.loyal": {"true": 1.0, "false": 0.25}}}
SEEN = ("country", "category")
"""What the model sees; of `loyal` it knows nothing, though loyal users click far more."""
LABELS = {
    "click": {"action": "click", "window_s": 60},
    "like": {"action": "like", "window_s": 120},
    "purchase": {"action": "purchase", "window_s": 300, "late_s": 900},
    "spent": {"action": "purchase", "kind": "number", "window_s": 300, "late_s": 900},
    "play": {"action": "play", "kind": "number", "take": "last", "window_s": 300},
    "rating": {"action": "rate", "kind": "number", "otherwise": None, "window_s": 600},
}
SOURCES = {"country": "user.country", "loyal": "user.loyal", "category": "item.category"}
CLICK_LOGIT = {"DE": -2.0, "US": -1.2, "film": 0.5, "news": -0.5, "sport": 0.0}
LOYAL_LOGIT = 1.5
STEPS, LEARNING_RATE = 600, 0.05
BOUND = 4.0
"""Standard errors that may lie between what is learnt and what is so."""
UNSETTLED = 0.01
"""What the last steps may leave, as a share of the mean."""

Action = tuple[str, int, float]
"""Name, ms after the request, value."""


@dataclass(slots=True)
class Shown:
    """One item of one request, and all that was done to it."""

    request_id: str
    ts_ms: int
    values: Mapping[str, Any]
    actions: list[Action] = field(default_factory=list)

    def truth(self, label: str) -> float | None:
        """What the label is, by event time alone; None: it has no value."""
        rule: dict[str, Any] = LABELS[label]
        reach_ms = 1000 * (rule["window_s"] + rule.get("late_s", 0))
        taken = [each for each in self.actions if each[0] == rule["action"] and each[1] <= reach_ms]
        if not taken:
            return rule.get("otherwise", 0.0)
        return taken[-1][2] if "kind" in rule else 1.0


def reactions(rng: np.random.Generator, click_logit: float) -> Iterator[Action]:
    """What a user does with one item, in order of time."""

    def after_ms(mean_s: float) -> int:
        return 1 + int(rng.exponential(mean_s * 1000))

    clicks = rng.random() < 1 / (1 + np.exp(-click_logit))
    at_ms = after_ms(15)
    if clicks:
        yield "click", at_ms, 1.0
        if rng.random() < 0.3:
            yield "like", at_ms + after_ms(20), 1.0
        watched = rng.lognormal(0, 0.7)
        for share in sorted(rng.random(rng.integers(4))):
            yield "play", at_ms + int(share * 120_000), round(float(share) * watched, 3)
        if rng.random() < 0.2:
            yield "rate", at_ms + after_ms(120), float(rng.integers(1, 6))
    if rng.random() < (0.6 if clicks else 0.05):
        yield "purchase", at_ms + after_ms(600), round(rng.lognormal(0, 0.5), 2)


def traffic(requests: int, seed: int) -> Iterator[list[Shown]]:
    """The items of each request."""
    rng, ts_ms = np.random.default_rng(seed), float(START_MS)
    for number in range(requests):
        ts_ms += rng.exponential(GAP_S * 1000)
        user = {"country": str(rng.choice(COUNTRIES)), "loyal": str(rng.random() < 0.3).lower()}
        items = []
        for _ in range(ITEMS):
            category = str(rng.choice(CATEGORIES))
            logit = CLICK_LOGIT[user["country"]] + CLICK_LOGIT[category]
            logit += LOYAL_LOGIT if user["loyal"] == "true" else 0.0
            done = sorted(reactions(rng, logit), key=lambda action: action[1])
            items.append(Shown(f"r{number}", int(ts_ms), {**user, "category": category}, done))
        yield items


def events(shown: list[list[Shown]]) -> Iterator[tuple[int, bool, bytes]]:
    """(time in ms, whether it is an action, value) of all events, in order of time."""
    found = []
    for items in shown:
        first = items[0]
        event = {"request_id": first.request_id, "ts": first.ts_ms, "user": first.values, "context": {}}
        raw = [{"item_id": i, "category": item.values["category"]} for i, item in enumerate(items)]
        found.append((first.ts_ms, False, orjson.dumps({**event, "items": raw})))
        for i, item in enumerate(items):
            for action, after_ms, value in item.actions:
                at_ms = item.ts_ms + after_ms
                event = {"request_id": item.request_id, "item_id": i, "action": action, "value": value}
                found.append((at_ms, True, orjson.dumps({**event, "ts": at_ms})))
    yield from sorted(found)


def make_job(negatives: Mapping[str, Any]) -> JoinJob:
    """The job; its examples carry all that anybody knows."""
    features = {name: {"from": source, "type": "string"} for name, source in SOURCES.items()}
    schema = {"features": features, "labels": LABELS}
    return JoinJob.model_validate(
        {"name": "masks", "kafka": {}, "schema": schema, "joiner": {"negatives": negatives}}
    )


def join(job: JoinJob, shown: list[list[Shown]]) -> Examples:
    """What a trainer reads of the examples that the joiner makes of all events."""
    cluster = Cluster(job)
    for ts_ms, is_action, value in events(shown):
        cluster.advance(ts_ms - 1)
        cluster.send(value, is_action=is_action)
    cluster.finish()
    messages = [ExampleList.FromString(value) for value in encode(cluster.examples)]
    return ExampleParser(job.schema_).parse([each for message in messages for each in message.examples])


def without_masks(examples: Examples) -> Examples:
    """The naive reading: every example teaches every label as it stands there, corrections like any other."""
    return replace(without_was(examples), masks=np.ones_like(examples.masks))


def without_was(examples: Examples) -> Examples:
    """Masks are read, but nothing is taken back."""
    return replace(examples, was=np.full_like(examples.was, np.nan))


def fit(
    schema: ExampleSchema, examples: Examples, segments: list[Mapping[str, str]], steps: int
) -> dict[str, np.ndarray]:
    """The model's mean of each label in `segments`, float32[segments], once it has learnt all there is.

    Every step takes all examples: what is left is no noise of batches, but what the examples say.
    """
    schedule = ScheduleSettings(kind="cosine", decay_steps=steps)
    settings = OptimizerSettings(kind="adam", learning_rate=LEARNING_RATE, schedule=schedule)
    rows_begin = InitializerSettings(scale=0.5)
    table = TableSettings(dim=8, initializer=rows_begin, optimizer=settings)
    of_tables = table_settings(schema, {}, table)
    network = Network(schema, ModelSettings(hidden=(32,)), of_tables, seed=1)
    tables = {name: EmbeddingTable(each, table_seed(1, name)) for name, each in of_tables.items()}
    dense = DenseTensors(settings)
    dense.initialize(network.initial_dense())
    lookup = network.lookup(examples.columns, len(examples))

    def rows(ids: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: tables[name].lookup(each) for name, each in ids.items()}

    for step in range(steps):
        learnt = network.learn(lookup, rows(lookup.ids), dense.values, examples, step)
        for name, (ids, gradients) in learnt.tables.items():
            tables[name].apply_gradients(ids, gradients, step=step)
        dense.apply_gradients(learnt.dense, step)
    requests = [{"user": each, "context": {}, "items": [each]} for each in segments]
    asked = network.lookup(columns(schema, requests), len(requests))
    return network.predict(asked, rows(asked.ids), network.tensors(dense.values))


@dataclass(frozen=True, slots=True)
class Figure:
    """A label in a segment, or in several: its mean over all traffic, and what was learnt."""

    items: int
    actual: float
    learnt: float
    error: float
    """One standard error of `learnt` that comes of the sampling of negatives."""

    @property
    def is_right(self) -> bool:
        return abs(self.learnt - self.actual) <= BOUND * self.error + UNSETTLED * self.actual

    @property
    def bias(self) -> float:
        """Of what is so, which share is too much."""
        return self.learnt / self.actual - 1

    @classmethod
    def sum(cls, figures: Sequence["Figure"]) -> "Figure":
        """Of several segments."""
        items = np.array([each.items for each in figures])
        actual, learnt = ([getattr(each, name) for each in figures] for name in ("actual", "learnt"))
        error = np.sqrt(((items * [each.error for each in figures]) ** 2).sum()) / items.sum()
        means = (float(np.average(values, weights=items)) for values in (actual, learnt))
        return cls(int(items.sum()), *means, float(error))


Reading = Callable[[Examples], Examples]


@dataclass(frozen=True, slots=True)
class Proof:
    """Traffic and its examples, to be read in any way."""

    job: JoinJob
    shown: list[Shown]
    examples: Examples

    @classmethod
    def of(cls, negatives: Mapping[str, Any], requests: int, seed: int = 1) -> "Proof":
        """Simulates and joins."""
        job, shown = make_job(negatives), list(traffic(requests, seed))
        return cls(job, [item for items in shown for item in items], join(job, shown))

    def figures(
        self, reading: Reading = lambda it: it, seen: Sequence[str] = SEEN, steps: int = STEPS
    ) -> dict[str, list[Figure]]:
        """By label, what a model learns in each segment of `seen`, from examples as `reading` takes them."""
        by_segment: dict[tuple[str, ...], list[Shown]] = {}
        for item in self.shown:
            by_segment.setdefault(tuple(item.values[name] for name in seen), []).append(item)
        segments = [dict(zip(seen, values, strict=True)) for values in by_segment]
        features = {name: self.job.schema_.features[name] for name in seen}
        # A row for each segment, so that nothing keeps the model from fitting all of them.
        crosses = {"segment": CrossSettings(of=tuple(seen))}
        schema = ExampleSchema(features=features, crosses=crosses, labels=self.job.schema_.labels)
        learnt = fit(schema, reading(self.examples), segments, steps)
        variances = np.array([self._variances(segment) for segment in segments])
        return {
            label: [
                _figure(items, label, float(learnt[label][at]), variances[at, number])
                for at, items in enumerate(by_segment.values())
            ]
            for number, label in enumerate(LABELS)
        }

    def _variances(self, segment: Mapping[str, str]) -> np.ndarray:
        """Of how many items the kept negatives of a segment seem to stand for, float64[labels].

        That is the sum of (1 - r) / r over all negatives, as those that were kept, each for 1 / r, tell it.
        """
        rates = self.examples.sampling_rates.astype(np.float64)[:, np.newaxis]
        negatives = (self.examples.masks > 0) & (self.examples.otherwise > 0)
        for name, value in segment.items():
            negatives &= (self.examples.columns[name] == fingerprint(value.encode()))[:, np.newaxis]
        variances: np.ndarray = np.where(negatives, (1 - rates) / rates**2, 0.0).sum(axis=0)
        return variances


def _figure(items: Sequence[Shown], label: str, learnt: float, variance: float) -> Figure:
    truths = [truth for item in items if (truth := item.truth(label)) is not None]
    actual = float(np.mean(truths))
    # A mean is sum / count, and only the count of negatives is estimated.
    return Figure(len(truths), actual, learnt, actual * float(np.sqrt(variance)) / len(truths))


def report(title: str, found: Mapping[str, Sequence[Figure]]) -> None:
    print(f"\n{title}")
    for label, figures in found.items():
        whole = Figure.sum(figures)
        errors = [(each.learnt - each.actual) / each.error for each in figures if each.error]
        print(
            f"  {label:9} actual {whole.actual:.4f}  learnt {whole.learnt:.4f} ({whole.bias:+.1%}), "
            f"one error {whole.error / whole.actual:.1%}; by segment, at most "
            f"{max(map(abs, errors), default=0):.1f} errors, "
            f"{max((abs(each.bias) for each in figures), default=0):.1%}; "
            f"right in {sum(each.is_right for each in figures)} of {len(figures)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    requests = parser.parse_args().requests
    proof = Proof.of(BY_CATEGORY, requests)
    print(f"{len(proof.shown)} impressions, {len(proof.examples)} examples")
    report("Masks and corrections are read", proof.figures())
    report("Corrections take nothing back", proof.figures(without_was))
    report("Masks are ignored", proof.figures(without_masks))
    by_loyalty = Proof.of(BY_LOYALTY, requests)
    report("Sampled by a field that the model does not see", by_loyalty.figures())
    report("Sampled by a field that it sees", by_loyalty.figures(seen=tuple(SOURCES)))


if __name__ == "__main__":
    main()
