import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.quality import Sightings, auc, measure, sightings

EXAMPLES = st.lists(
    st.tuples(
        st.booleans(), st.integers(0, 6).map(lambda score: score / 6), st.sampled_from([1.0, 0.5, 0.1])
    ),
    max_size=30,
)
"""(label, score with many ties, sampling rate)."""


def seen(labels: np.ndarray, scores: np.ndarray, rates: np.ndarray) -> Sightings:
    """Of binary labels, none of them corrected."""
    return sightings(labels, scores, labels <= 0, np.full(len(labels), math.nan), rates)[0]


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
    whole = measure(Sightings(np.repeat(labels, repeats), np.repeat(scores, repeats), np.ones(repeats.sum())))
    sampled = measure(seen(labels, scores, rates))
    assert sampled.examples == len(rows)
    for name in ("auc", "log_loss", "calibration"):
        assert getattr(sampled, name) == pytest.approx(getattr(whole, name))


def test_scores_that_are_absent_do_not_count() -> None:
    quality = measure(Sightings(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.1, math.nan]), np.ones(3)))
    assert (quality.examples, quality.auc) == (2, 1.0)


def test_nothing_to_measure_is_unknown() -> None:
    nothing = Sightings(np.array([1.0]), np.array([math.nan]), np.ones(1))
    assert measure(nothing) == measure(nothing, "number") == (0, None, None, None, None)


def test_certain_and_wrong_is_a_finite_loss() -> None:
    quality = measure(Sightings(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.ones(2)))
    assert quality.log_loss == pytest.approx(-math.log(1e-7), rel=1e-3)


KINDS = st.sampled_from(["binary", "number"])


@given(
    st.lists(st.tuples(st.floats(0.5, 9), st.integers(0, 6), st.sampled_from([1.0, 0.5, 0.1])), min_size=1),
    KINDS,
)
def test_an_item_that_was_corrected_counts_once_and_as_what_it_became(rows: list, kind: str) -> None:
    """Each as a value that no action made, then its correction; beside a negative that stays one."""
    values, levels, rates = (np.array([row[column] for row in rows], float) for column in range(3))
    values, scores = (np.ones(len(rows)) if kind == "binary" else values), levels / 6
    zeros, ones, nothing = np.zeros(len(rows)), np.ones(len(rows)), np.full(len(rows), math.nan)
    stays = (zeros, scores, ones, nothing, np.ones(len(rows)))
    first = (zeros, scores, ones, nothing, rates)
    correction = (values, scores, zeros, zeros, rates)
    alone = (values, scores, zeros, nothing, np.ones(len(rows)))
    corrected = measure(joined(stays, first, correction), kind)
    wanted = measure(joined(stays, alone), kind)
    assert corrected.examples == wanted.examples == 2 * len(rows)
    of_kind = ("auc", "log_loss") if kind == "binary" else ("rmse",)
    for name in (*of_kind, "calibration"):
        assert getattr(corrected, name) == pytest.approx(getattr(wanted, name), rel=1e-6, abs=1e-6)


def joined(*columns: tuple[np.ndarray, ...]) -> Sightings:
    return sightings(*map(np.concatenate, zip(*columns, strict=True)))[0]


def test_of_numbers_rmse_and_the_ratio_of_the_means_are_those_of_unsampled_traffic() -> None:
    """An action with 4, one with 0, and of eight items without one a quarter."""
    labels, scores = np.array([4.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.5, 0.5])
    rates, otherwise = np.full(4, 0.25), np.array([0.0, 0.0, 1.0, 1.0])
    found = measure(sightings(labels, scores, otherwise, np.full(4, math.nan), rates)[0], "number")
    assert found.rmse == pytest.approx(math.sqrt((9 + 1 + 8 * 0.25) / 10))
    assert found.calibration == pytest.approx((1 + 1 + 8 * 0.5) / 4)
    assert (found.examples, found.auc, found.log_loss) == (4, None, None)


def test_of_nothing_but_what_is_taken_back_nothing_is_said() -> None:
    nothing_left = Sightings(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, -10.0]))
    assert measure(nothing_left) == measure(nothing_left, "number") == (0, None, None, None, None)
