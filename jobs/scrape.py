"""Asks many HTTP endpoints at once what they say of themselves; one that is down costs nothing."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.client import HTTPException
from typing import Any, Final

import orjson
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jobs.http import ask

REQUEST_TIMEOUT_S: Final = 1.0
ROUND_TIMEOUT_S: Final = 1.5
"""An endpoint that trickles is given up after so long, whatever its socket says."""
_MAX_BYTES: Final = 8 << 20
_THREADS: Final = 16


class Scraper:
    """Reads URLs concurrently."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "scrape")
        self._open: dict[str, Future[bytes | None]] = {}

    def fetch(self, urls: Iterable[str]) -> dict[str, bytes]:
        """The bodies of the URLs that answered in time with status 200; never raises for the others."""
        wanted = dict.fromkeys(urls)
        # A URL whose last request has not ended is not asked again: requests never pile up.
        self._open |= {url: self._pool.submit(self._read, url) for url in wanted if url not in self._open}
        wait(list(self._open.values()), timeout=ROUND_TIMEOUT_S)
        ended = {url: future for url, future in self._open.items() if future.done()}
        self._open = {url: future for url, future in self._open.items() if url not in ended}
        bodies = {url: future.result() for url, future in ended.items() if url in wanted}
        return {url: body for url, body in bodies.items() if body is not None}

    def close(self) -> None:
        """End the threads; what is still open is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, url: str) -> bytes | None:
        try:
            return ask(url, REQUEST_TIMEOUT_S, most_bytes=_MAX_BYTES)
        except (OSError, ValueError, HTTPException):
            return None


def read_samples(body: bytes | None, wanted: tuple[str, ...]) -> list[Sample]:
    """The samples of a page that contain one of `wanted`; lines that make no sense are left out."""
    found: list[Sample] = []
    for line in _lines(body, wanted):
        try:
            found += [s for family in text_string_to_metric_families(line) for s in family.samples]
        except (ValueError, IndexError, KeyError):
            continue
    return found


def _lines(body: bytes | None, wanted: tuple[str, ...]) -> Iterator[str]:
    # Processes tell hundreds of metrics; parsing all of them each second would cost more than it is worth.
    for line in (body or b"").decode(errors="replace").splitlines():
        if line and line[0] != "#" and any(name in line for name in wanted):
            yield line + "\n"


def read_json(body: bytes | None) -> dict[str, Any]:
    """A JSON object; empty when it is something else."""
    try:
        value = orjson.loads(body or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def total(samples: Iterable[Sample], name: str) -> float | None:
    """The sum of the samples named `name`, with or without a scope before it; None when there is none."""
    values = [s.value for s in samples if s.name == name or s.name.endswith("_" + name)]
    return sum(values) if values else None
