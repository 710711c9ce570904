"""Requests to the parts of a job, which stand on this machine or in its cluster: never by way of a proxy."""

import urllib.request
from typing import Final

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(
    url: str,
    timeout_s: float,
    *,
    method: str = "GET",
    body: bytes | None = None,
    most_bytes: int | None = None,
) -> bytes:
    """The body of the answer, at most `most_bytes` of it; `body` is JSON.

    Raises OSError (URLError: no answer, or a status of 400 and more), HTTPException, ValueError.
    """
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    with _OPENER.open(request, timeout=timeout_s) as answer:
        told: bytes = answer.read(most_bytes)
        return told
