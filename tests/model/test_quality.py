import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.quality import auc, measure

EXAMPLES = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 6).map(lambda score: score / 6), st.sampled_from([1.0, 0.5, 0.1])
    ),
    max_size=30,
)
"""(label, score with many ties, sampling rate)."""


def naive_auc(labels: list[bool], scores: list[float], weights: list[float]) -> float | None:
    """Every pair compared."""
    rows = list(zip(labels, scores, weights, strict=True))
    won = total = 0.0
    for _, high, weight in (row for row in rows if row[0]):
        for _, low, other in (row for row in rows if not row[0]):
            total += weight * other
            won += weight * other * ((high > low) + (high == low) / 2)
    return won / total if total else None


@given(EXAMPLES)
def test_auc_is_that_of_every_pair_compared(rows: list[tuple[bool, float, float]]) -> None:
    labels, scores, rates = ([row[column] for row in rows] for column in range(3))
    weights = [1.0 if label else 1 / rate for label, rate in zip(labels, rates, strict=True)]
    expected = naive_auc(labels, scores, weights)
    got = auc(np.array(labels, float), np.array(scores, float), np.array(weights, float))
    assert (got is None) == (expected is None)
    assert got == pytest.approx(expected)


@given(EXAMPLES.filter(bool))
def test_a_sampled_negative_counts_for_those_that_were_not_kept(
    rows: list[tuple[bool, float, float]],
) -> None:
    labels, scores, rates = (np.array([row[column] for row in rows], float) for column in range(3))
    repeats = np.where(labels == 1, 1, np.round(1 / rates)).astype(int)
    whole = measure(np.repeat(labels, repeats), np.repeat(scores, repeats), np.ones(repeats.sum()))
    sampled = measure(labels, scores, rates)
    assert sampled.examples == len(rows)
    for name in ("auc", "log_loss", "calibration"):
        assert getattr(sampled, name) == pytest.approx(getattr(whole, name))


def test_scores_that_are_absent_do_not_count() -> None:
    quality = measure(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.1, math.nan]), np.ones(3))
    assert (quality.examples, quality.auc) == (2, 1.0)


def test_nothing_to_measure_is_unknown() -> None:
    quality = measure(np.array([1.0]), np.array([math.nan]), np.ones(1))
    assert (quality.auc, quality.log_loss, quality.calibration) == (None, None, None)


def test_certain_and_wrong_is_a_finite_loss() -> None:
    quality = measure(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.ones(2))
    assert quality.log_loss == pytest.approx(-math.log(1e-7), rel=1e-3)
