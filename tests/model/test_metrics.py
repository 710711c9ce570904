import numpy as np
import pytest

from model.metrics import Progress, Window
from model.parse import Examples


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def times(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_a_window_forgets_the_oldest():
    window = Window(2, 0)
    window.add(column(0.9, 0.1), column(0, 1), column(1, 1), times(1, 1))
    assert window.quality().auc == 0
    window.add(column(0.9, 0.1), column(1, 0), column(1, 1), times(2, 2))
    assert window.quality().auc == 1


def test_an_example_counts_when_its_fellows_have_come():
    """Two models: the first scores all 0.9, the second all 0.1. Neither tells clicks from others."""
    window = Window(100, delay_ms=10)
    for ts in range(100):
        score = 0.9 if ts < 50 else 0.1
        window.add(column(score), column(1), column(1), times(ts))
        if ts >= 10:
            window.add(column(0.9 if ts - 10 < 50 else 0.1), column(0), column(1), times(ts - 10))
        if ts >= 10:
            assert window.quality().auc == 0.5


def test_after_forgetting_no_positive_counts_whose_negatives_are_gone():
    window = Window(20, delay_ms=10)
    for ts in range(200):
        window.add(column(0.5), column(1), column(1), times(ts))
        window.add(column(0.5), column(0), column(1), times(ts - 10))
    assert window.quality().calibration == pytest.approx(1)


def test_a_delay_beyond_what_is_kept_counts_examples_as_they_come():
    window = Window(10, delay_ms=1_000_000)
    for ts in range(100):
        window.add(column(0.9), column(1), column(1), times(2_000_000 + ts))
        window.add(column(0.1), column(0), column(1), times(1_000_000 + ts))
    assert window.quality().auc == 1
    assert window.quality().examples == 10


def test_a_window_larger_than_what_came_holds_all_of_it():
    window = Window(1000, 0)
    assert window.quality() is None
    for label in (0, 1, 1):
        window.add(column(0.5), column(label), column(1), times(1))
    assert window.quality().calibration == pytest.approx(0.75)


def test_kept_negatives_stand_for_those_that_were_not():
    """One positive and one kept negative of ten: predicting 1/11 is right."""
    window = Window(10, 0)
    window.add(column(1 / 11, 1 / 11), column(1, 0), column(0.1, 0.1), times(1, 1))
    assert window.quality().calibration == pytest.approx(1)
    assert window.quality().log_loss == pytest.approx(-(np.log(1 / 11) + 10 * np.log(10 / 11)) / 11, rel=1e-5)


def examples(labels, masks, scores) -> Examples:
    none = np.zeros(len(labels), np.int64)
    ones = np.ones(len(labels), np.float32)
    return Examples(
        {}, column(*labels)[:, None], column(*masks)[:, None], ones, scores, none, none, none, none
    )


def test_every_kind_of_score_has_a_window_of_its_own():
    progress = Progress({"click": 0}, 10)
    scores = {
        "click": column(np.nan, 0.1, 0.9),
        "click@frozen": column(0.9, 0.1, 0.1),
        "other": column(1, 1, 1),
    }
    progress.add(examples([0, 0, 1], [1, 1, 1], scores), {"click": column(0.5, 0.5, 0.5)})
    found = {of: window.quality().auc for (_, of), window in progress.windows.items()}
    assert found == {"fresh": 0.5, "served": 1, "frozen": 0.25}


def test_labels_that_are_still_open_are_left_out():
    progress = Progress({"click": 0}, 10)
    progress.add(examples([0, 0, 1], [0, 1, 1], {}), {"click": column(0.99, 0.2, 0.5)})
    assert progress.windows["click", "fresh"].quality().auc == 1
