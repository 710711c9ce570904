import numpy as np
import pytest

from model.metrics import Judgement, Progress, Window
from model.parse import Examples
from model.quality import Sightings
from pipelines.schema import LabelSettings

AT_ONCE = Judgement("binary", 0)


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def times(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def seen(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Sightings:
    return Sightings(*(each.astype(np.float64) for each in (labels, scores, weights)))


def test_a_window_forgets_the_oldest():
    window = Window(2, AT_ONCE)
    window.add(seen(column(0.9, 0.1), column(0, 1), column(1, 1)), times(1, 1))
    assert window.quality().auc == 0
    window.add(seen(column(0.9, 0.1), column(1, 0), column(1, 1)), times(2, 2))
    assert window.quality().auc == 1


def test_an_example_counts_when_its_fellows_have_come():
    """Two models: the first scores all 0.9, the second all 0.1. Neither tells clicks from others."""
    window = Window(100, Judgement("binary", 10))
    for ts in range(100):
        score = 0.9 if ts < 50 else 0.1
        window.add(seen(column(score), column(1), column(1)), times(ts))
        if ts >= 10:
            window.add(seen(column(0.9 if ts - 10 < 50 else 0.1), column(0), column(1)), times(ts - 10))
        if ts >= 10:
            assert window.quality().auc == 0.5


def test_after_forgetting_no_positive_counts_whose_negatives_are_gone():
    window = Window(20, Judgement("binary", 10))
    for ts in range(200):
        window.add(seen(column(0.5), column(1), column(1)), times(ts))
        window.add(seen(column(0.5), column(0), column(1)), times(ts - 10))
    assert window.quality().calibration == pytest.approx(1)


def test_a_delay_beyond_what_is_kept_counts_examples_as_they_come():
    window = Window(10, Judgement("binary", 1_000_000))
    for ts in range(100):
        window.add(seen(column(0.9), column(1), column(1)), times(2_000_000 + ts))
        window.add(seen(column(0.1), column(0), column(1)), times(1_000_000 + ts))
    assert window.quality().auc == 1
    assert window.quality().examples == 10


def test_a_window_larger_than_what_came_holds_all_of_it():
    window = Window(1000, AT_ONCE)
    assert window.quality() is None
    for label in (0, 1, 1):
        window.add(seen(column(0.5), column(label), column(1)), times(1))
    assert window.quality().calibration == pytest.approx(0.75)


def test_kept_negatives_stand_for_those_that_were_not():
    """One positive and one kept negative of ten: predicting 1/11 is right."""
    window = Window(10, AT_ONCE)
    window.add(seen(column(1 / 11, 1 / 11), column(1, 0), column(1, 10)), times(1, 1))
    assert window.quality().calibration == pytest.approx(1)
    assert window.quality().log_loss == pytest.approx(-(np.log(1 / 11) + 10 * np.log(10 / 11)) / 11, rel=1e-5)


def examples(labels, masks, scores, *, was=None, otherwise=None, rates=None, ts_ms=None) -> Examples:
    n = len(labels)
    none = np.zeros(n, np.int64)
    return Examples(
        {},
        labels=column(*labels)[:, None],
        masks=column(*masks)[:, None],
        was=column(*(was or [np.nan] * n))[:, None],
        otherwise=column(*(otherwise or [float(label <= 0) for label in labels]))[:, None],
        sampling_rates=column(*(rates or [1] * n)),
        pool_probabilities=np.zeros(n, np.float32),
        scores=scores,
        ts_ms=times(*ts_ms) if ts_ms else none,
        joined_ts_ms=none,
        action_ts_ms=none,
        action_logged_ts_ms=none,
    )


def test_every_kind_of_score_has_a_window_of_its_own():
    progress = Progress({"click": AT_ONCE}, 10)
    scores = {
        "click": column(np.nan, 0.1, 0.9),
        "click@frozen": column(0.9, 0.1, 0.1),
        "other": column(1, 1, 1),
    }
    progress.add(examples([0, 0, 1], [1, 1, 1], scores), {"click": column(0.5, 0.5, 0.5)})
    found = {of: window.quality().auc for (_, of), window in progress.windows.items()}
    assert found == {"fresh": 0.5, "served": 1, "frozen": 0.25}


def test_labels_that_are_still_open_are_left_out():
    progress = Progress({"click": AT_ONCE}, 10)
    progress.add(examples([0, 0, 1], [0, 1, 1], {}), {"click": column(0.99, 0.2, 0.5)})
    assert progress.windows["click", "fresh"].quality().auc == 1


def test_a_correction_is_no_second_sighting():
    """Two items are bought in time, two late, one of these kept as a negative, as three others are."""
    progress = Progress({"buy": AT_ONCE}, 100)
    kept = [0.0] * 4
    progress.add(
        examples([1, 1, *kept], [1] * 6, {"buy": column(*[0.4] * 6)}, rates=[0.5] * 6),
        {"buy": column(*[0.4] * 6)},
    )
    late = examples([1, 1], [1] * 2, {"buy": column(0.4, 0.4)}, was=[0, np.nan], rates=[0.5] * 2)
    progress.add(late, {"buy": column(0.4, 0.4)})
    for of in ("fresh", "served"):
        quality = progress.windows["buy", of].quality()
        assert quality.examples == 7
        assert quality.calibration == pytest.approx(1)


def test_an_example_counts_when_no_correction_of_it_can_come_any_more():
    label = LabelSettings(action="buy", window_s=10, late_s=20)
    progress = Progress({"buy": Judgement.of(label)}, 100)
    for ts_ms, is_known in ((0, False), (29_000, False), (31_000, True)):
        progress.add(examples([1, 0], [1, 1], {}, ts_ms=[0, ts_ms]), {"buy": column(0.9, 0.1)})
        assert (progress.windows["buy", "fresh"].quality() is not None) == is_known


def test_a_number_is_judged_by_its_error_and_the_ratio_of_the_means():
    progress = Progress({"play": Judgement("number", 0)}, 10)
    batch = examples([4, 0], [1, 1], {"play": column(3, 3)}, otherwise=[0, 1], rates=[0.5, 0.5])
    progress.add(batch, {"play": column(2, 1)})
    fresh, served = (progress.windows["play", of].quality() for of in ("fresh", "served"))
    assert (fresh.rmse, fresh.calibration) == (pytest.approx(np.sqrt((4 + 2) / 3)), pytest.approx(1))
    assert (served.rmse, served.calibration) == (pytest.approx(np.sqrt((1 + 18) / 3)), pytest.approx(9 / 4))
    assert fresh.auc is None
