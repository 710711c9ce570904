"""The HTTP face of a replica: `POST /v1/predict`, and what operators and Prometheus ask."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.batching import Batcher
from serving.metrics import ReplicaMetrics
from serving.openapi import PREDICT
from serving.parameters import Parameters
from serving.requests import RefusedError, RequestReader
from serving.status import Status
from serving.store import StoreError

_log: Final = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


def make_app(
    *,
    reader: RequestReader,
    batcher: Batcher,
    parameters: Parameters,
    status: Status,
    metrics: ReplicaMetrics,
    max_body_bytes: int,
) -> FastAPI:
    """The application; its parts are made, and started, elsewhere."""
    # The pages of FastAPI load scripts from the internet; `/openapi.json` needs nothing.
    app = FastAPI(title="Freshet", docs_url=None, redoc_url=None)
    add_errors(app, metrics)
    # Plain routes: what FastAPI does for its own costs more than scoring.
    app.add_route("/v1/predict", predict_handler(reader, batcher, metrics, max_body_bytes), ["POST"])
    add_operations(app, parameters, status, metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def predict_handler(
    reader: RequestReader, batcher: Batcher, metrics: ReplicaMetrics, max_body_bytes: int
) -> Handler:
    """Answers `POST /v1/predict`."""

    async def predict(request: Request) -> Response:
        start = time.perf_counter()
        try:
            read = reader.read(await read_body(request, max_body_bytes))
            answer = await batcher.ask(read, reader.count_values(read))
        except RefusedError as error:
            metrics.refused.inc()
            return _json(error.content, error.status)
        metrics.predictions.inc()
        metrics.items.inc(len(read["items"]))
        metrics.request.observe(time.perf_counter() - start)
        return Response(answer, media_type="application/json")

    return predict


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body; raises RefusedError, without reading on, when it is longer than `max_bytes`."""
    told = request.headers.get("content-length", "0")
    size = int(told) if told.isdigit() else 0
    pieces = []
    if size <= max_bytes:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > max_bytes:
                break
            pieces.append(piece)
    if size > max_bytes:
        raise RefusedError(413, "the body is too long", "body", f"at most {max_bytes} bytes")
    return b"".join(pieces)


def add_operations(app: FastAPI, parameters: Parameters, status: Status, metrics: ReplicaMetrics) -> None:
    """Health, readiness, metrics, status and freeze."""

    @app.get("/healthz")
    async def healthz() -> Response:
        """200: the process answers."""
        return _json({"healthy": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        """200: the parameters are up to date; 503 and why: they are not."""
        waiting_for = status.waiting_for()
        content = {"ready": not waiting_for, "waiting_for": waiting_for}
        return _json(content, 503 if waiting_for else 200)

    @app.get("/metrics")
    async def metrics_page() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/status")
    async def status_page() -> Response:
        """What the replica has read, holds and measures."""
        return _json(status.report())

    @app.post("/v1/freeze")
    async def freeze() -> Response:
        """Keep a copy of the parameters: from now on answers have its scores too, as LABEL@frozen."""
        try:
            frozen = await asyncio.to_thread(parameters.freeze)
        except StoreError as error:
            return _json(_error(str(error), "state_dir", "a directory with free space"), 500)
        return _json({"rows": frozen.tables.rows(), "dense_version": frozen.dense.version})


def add_errors(app: FastAPI, metrics: ReplicaMetrics) -> None:
    """Whatever goes wrong is answered as JSON: error, where, expected."""

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        expected = ", ".join(sorted(_paths(app)))
        metrics.refused.inc()
        return _json(_error(error.detail, request.url.path, expected), error.status_code, error.headers)

    async def gone(request: Request, error: Exception) -> Response:
        return _json(_error("the client has gone", "body", "a whole body"), 400)

    async def internal(request: Request, error: Exception) -> Response:
        metrics.failed.inc()
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _json(_error("internal error, see the replica's log", request.url.path, "no such error"), 500)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, internal)


def _paths(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD" and hasattr(route, "path")
    }


def _error(error: str, where: str, expected: str) -> dict[str, str]:
    return {"error": error, "where": where, "expected": expected}


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def _openapi(app: FastAPI) -> dict[str, Any]:
    described = get_openapi(title=app.title, version="1", routes=app.routes)
    described["paths"]["/v1/predict"] = PREDICT
    return described
