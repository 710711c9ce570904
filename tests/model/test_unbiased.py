"""Whoever reads masks learns what is so of all traffic; whoever does not, something else (docs/labels.md)."""

import pytest

from experiments.masks import BY_CATEGORY, BY_LOYALTY, SOURCES, Figure, Proof, without_masks, without_was

REQUESTS = 400
STEPS = 300
FEW_STEPS = 150
"""Enough for means over all segments."""


@pytest.fixture(scope="module")
def proof() -> Proof:
    return Proof.of(BY_CATEGORY, REQUESTS)


@pytest.fixture(scope="module")
def by_loyalty() -> Proof:
    return Proof.of(BY_LOYALTY, REQUESTS)


@pytest.fixture(scope="module")
def learnt(proof) -> dict[str, list[Figure]]:
    return proof.figures(steps=STEPS)


def wrong(figures: dict[str, list[Figure]]) -> list[tuple[str, Figure]]:
    return [(label, each) for label, of_label in figures.items() for each in of_label if not each.is_right]


def biases(figures: dict[str, list[Figure]]) -> dict[str, float]:
    return {label: Figure.sum(of_label).bias for label, of_label in figures.items()}


def test_who_reads_the_masks_learns_the_mean_of_all_traffic_in_every_segment(proof, learnt):
    assert wrong(learnt) == []
    assert max(abs(bias) for bias in biases(learnt).values()) < 0.1
    # It has seen less than half of the items that came to nothing.
    assert (proof.examples.sampling_rates < 0.5).mean() > 0.5


def test_who_ignores_the_masks_learns_far_too_little(proof):
    found = biases(proof.figures(without_masks, steps=FEW_STEPS))
    assert max(found[label] for label in ("like", "purchase", "spent", "play", "rating")) < -0.25


def test_who_takes_nothing_back_counts_late_purchases_twice(proof, learnt):
    found, right = biases(proof.figures(without_was, steps=FEW_STEPS)), biases(learnt)
    lost = {label: right[label] - bias for label, bias in found.items()}
    assert min(lost["purchase"], lost["spent"]) > 0.05
    assert max(abs(lost[label]) for label in ("click", "like", "play", "rating")) < 0.01


def test_sampling_by_what_the_model_does_not_see_spoils_probabilities_but_no_numbers(by_loyalty):
    found = by_loyalty.figures(steps=STEPS)
    assert biases(found)["click"] > 0.15
    assert [label for label, _ in wrong(found) if label in ("spent", "play", "rating")] == []


def test_sampling_by_what_the_model_sees_spoils_nothing(by_loyalty):
    assert wrong(by_loyalty.figures(seen=tuple(SOURCES), steps=STEPS)) == []
