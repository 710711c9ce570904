"""Waiting for a condition, the only way in which tests wait."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 240.0


def wait_for(
    condition: Callable[[], Any],
    what: str,
    patience_s: float = PATIENCE_S,
    *,
    retry: type[Exception] | tuple[type[Exception], ...] = (),
) -> Any:
    """The first true value of `condition`; AssertionError after `patience_s`. `retry`: what it may raise."""
    begin_s = time.monotonic()
    while True:
        look_s = time.monotonic()
        try:
            if value := condition():
                return value
        except retry:
            pass
        now_s = time.monotonic()
        left_s = begin_s + patience_s - now_s
        if left_s <= 0:
            raise AssertionError(f"waited {patience_s:.0f} s in vain for {what}")
        # Looks become rare, and one that takes long leaves the processor to those who are waited for.
        time.sleep(min(left_s, max(0.01, min(0.2, (now_s - begin_s) / 10), min(1, now_s - look_s))))
