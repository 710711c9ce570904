import numpy as np
import pytest

from ps.push import Push, Span

ONE = np.array([1], np.int64)


@pytest.mark.parametrize("gradient", [np.nan, np.inf, -np.inf, 2e12, -2e12])
def test_insane_gradients_are_refused_by_name(gradient):
    bad = np.array([[0, gradient]], np.float32)
    with pytest.raises(ValueError, match="table 'user': a gradient is NaN, infinite or beyond 1e\\+12"):
        Push((Span(0, 0, 1),), {"user": (ONE, bad)}).check()
    with pytest.raises(ValueError, match="dense tensor 'w': a gradient is NaN"):
        Push((Span(0, 0, 1),), dense={"w": bad}).check()


@pytest.mark.parametrize("span", [Span(0, 5, 5), Span(0, 5, 4), Span(0, -1, 3), Span(-1, 0, 1)])
def test_a_span_holds_at_least_one_position(span):
    with pytest.raises(ValueError, match="0 <= first < next"):
        Push((span,)).check()


def test_a_push_without_a_span_could_be_applied_twice():
    with pytest.raises(ValueError, match="needs a span"):
        Push(()).check()


def test_a_partition_comes_once():
    with pytest.raises(
        ValueError, match=r"one span per partition: partition 0 \[0, 1\), partition 0 \[1, 2\)"
    ):
        Push((Span(0, 0, 1), Span(0, 1, 2))).check()


def test_empty_pushes_are_fine_they_move_the_marks():
    Push((Span(0, 0, 1), Span(3, 5, 9)), {"user": (ONE[:0], np.empty((0, 3), np.float32))}).check()
