"""What `freshet run` tells at the terminal: parts as they come up, one live line, what went wrong."""

import sys
import time
from collections.abc import Iterable
from typing import Any

import orjson
from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobs.observe import Observation
from jobs.stack.part import Part, State

_LINE_S = 10.0
"""Between two live lines where the last one can't be replaced."""
_MARKS = {
    State.READY: ("✓", "green"),
    State.RESTARTING: ("↻", "yellow"),
    State.FAILED: ("✗", "red"),
    State.STOPPED: ("■", "dim"),
}


class Screen:
    """Tells people (`is_json` False) or programs (a line of JSON per event)."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self._console = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._told_s = time.monotonic()

    def part(self, part: Part) -> None:
        """A part has changed its state."""
        if self._is_json:
            self._event("part", part.described())
        elif part.state in _MARKS:
            mark, style = _MARKS[part.state]
            where = f"  {part.address}" if part.address and part.state == State.READY else ""
            self._print(Text.assemble((f"{mark} ", style), f"{part.name:<14}", (where, "dim")))
            if part.error and part.state in (State.RESTARTING, State.FAILED):
                self._print(Text(part.error, style="yellow"))

    def note(self, text: str, **more: Any) -> None:
        """A sentence; `more` is what a program would want of it."""
        if self._is_json:
            self._event("note", {"text": text, **more})
        else:
            self._print(Text(text))

    def alive(self, observation: Observation, progress: dict[str, Any]) -> None:
        """The live line: rewritten in place, or from time to time where that is impossible."""
        is_due = time.monotonic() - self._told_s > _LINE_S
        if self._is_json or not self._console.is_terminal:
            if is_due:
                self._told_s = time.monotonic()
                self._tell_line(observation, progress)
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(live_line(observation, progress), no_wrap=True, style="cyan"), refresh=True)

    def _tell_line(self, observation: Observation, progress: dict[str, Any]) -> None:
        if self._is_json:
            quality = {f"auc_{of}": value for of, value in observation.auc.items()}
            quality |= {f"rmse_{of}": value for of, value in observation.rmse.items()}
            freshness = {"freshness_p99_ms": observation.freshness_p99_ms}
            self._event(
                "progress", {**progress, **quality, **freshness, "events_per_s": observation.events_per_s}
            )
        else:
            self._console.print(live_line(observation, progress))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, text: Text) -> None:
        self._console.print(text)

    def _event(self, event: str, content: dict[str, Any]) -> None:
        sys.stdout.write(orjson.dumps({"event": event, "at": time.time(), **content}).decode() + "\n")
        sys.stdout.flush()


def live_line(observation: Observation, progress: dict[str, Any]) -> str:
    """The state of the run on one line."""
    quality = observation.auc or observation.rmse
    parts = [
        _progress(progress),
        _told("fresh p99", observation.freshness_p99_ms, "{:,.0f} ms"),
        _told("joined", observation.events_per_s.get("joined"), "{:,.0f}/s"),
        _told("late", observation.joins.get("late"), "{:,}"),
        _told("dead", _sum(observation.joins.get(name) for name in ("malformed", "orphan")), "{:,}"),
        _told("AUC" if observation.auc else "RMSE", quality.get("online"), "{:.3f}"),
        _told("frozen", quality.get("frozen"), "{:.3f}"),
        _told("best", quality.get("best"), "{:.3f}"),
    ]
    return "  ".join(part for part in parts if part)


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _told(name: str, value: float | None, form: str) -> str:
    return f"{name} {'–' if value is None else form.format(value)}"


def _progress(progress: dict[str, Any]) -> str:
    shown, total = progress.get("impressions"), progress.get("impressions_total")
    of = f" of {total:,}" if total else ""
    counted = f"  {shown:,}{of} impressions" if shown is not None else ""
    return f"{progress['seconds']:>5.0f} s{counted}"
