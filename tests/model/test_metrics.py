import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics import Progress, Window, auc
from model.parse import Examples

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.floats(0.1, 10)),
    min_size=1,
    max_size=30,
)


@given(PAIRS)
def test_auc_counts_the_pairs_that_are_in_order(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    right = total = 0.0
    for p in np.flatnonzero(labels == 1):
        for n in np.flatnonzero(labels == 0):
            pair = weights[p] * weights[n]
            total += pair
            right += pair * (1.0 if scores[p] > scores[n] else 0.5 if scores[p] == scores[n] else 0.0)
    found = auc(scores, labels, weights)
    assert found is None if total == 0 else found == pytest.approx(right / total)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_window_forgets_the_oldest():
    window = Window(2)
    window.add(column(0.9, 0.1), column(0, 1), column(1, 1))
    assert window.quality().auc == 0
    window.add(column(0.9, 0.1), column(1, 0), column(1, 1))
    assert window.quality().auc == 1


def test_a_window_larger_than_what_came_holds_all_of_it():
    window = Window(1000)
    assert window.quality() is None
    for label in (0, 1, 1):
        window.add(column(0.5), column(label), column(1))
    assert window.quality().calibration == pytest.approx(0.75)


def test_kept_negatives_stand_for_those_that_were_not():
    """One positive and one kept negative of ten: predicting 1/11 is right."""
    window = Window(10)
    window.add(column(1 / 11, 1 / 11), column(1, 0), column(0.1, 0.1))
    assert window.quality().calibration == pytest.approx(1)
    assert window.quality().log_loss == pytest.approx(-(np.log(1 / 11) + 10 * np.log(10 / 11)) / 11, rel=1e-5)


def examples(labels, masks, scores) -> Examples:
    none = np.zeros(len(labels), np.int64)
    ones = np.ones(len(labels), np.float32)
    return Examples(
        {}, column(*labels)[:, None], column(*masks)[:, None], ones, scores, none, none, none, none
    )


def test_every_kind_of_score_has_a_window_of_its_own():
    progress = Progress(["click"], 10)
    scores = {
        "click": column(np.nan, 0.1, 0.9),
        "click@frozen": column(0.9, 0.1, 0.1),
        "other": column(1, 1, 1),
    }
    progress.add(examples([0, 0, 1], [1, 1, 1], scores), {"click": column(0.5, 0.5, 0.5)})
    found = {of: window.quality().auc for (_, of), window in progress.windows.items()}
    assert found == {"fresh": 0.5, "served": 1, "frozen": 0.25}


def test_labels_that_are_still_open_are_left_out():
    progress = Progress(["click"], 10)
    progress.add(examples([0, 0, 1], [0, 1, 1], {}), {"click": column(0.99, 0.2, 0.5)})
    assert progress.windows["click", "fresh"].quality().auc == 1
