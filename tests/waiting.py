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
    while (look_s := time.monotonic()) < begin_s + patience_s:
        try:
            if value := condition():
                return value
        except retry:
            pass
        now_s = time.monotonic()
        # Looks become rare, and one that takes long leaves the processor to those who are waited for.
        time.sleep(max(0.01, min(0.2, (now_s - begin_s) / 10), min(1, now_s - look_s)))
    raise AssertionError(f"waited {patience_s:.0f} s in vain for {what}")
