"""The dashboard as a web server: one page, its assets, a stream of observations, logs and the job file."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Final

import orjson
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.dashboard.files import job_text, log_tail
from jobs.dashboard.hub import Hub
from jobs.errors import JobError
from jobs.observe import Observer
from jobs.spec import Job

ASSETS: Final = Path(__file__).parent / "assets"
_STOP_TIMEOUT_S: Final = 2
_HEADERS: Final = {
    # Everything is in the package: nothing from elsewhere is ever loaded, sent or framed.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def run_dashboard(job: Job, run_dir: Path) -> None:
    """Serve at `dashboard.address` (None: a free port on loopback) until SIGTERM or SIGINT.

    Prints one line of JSON with `ready` and `address` when it answers. Raises JobError when the address can't
    be used.
    """
    listening = _listen(job.dashboard.address or "127.0.0.1:0")
    host, port = listening.getsockname()[:2]
    print(orjson.dumps({"ready": True, "address": f"{host}:{port}"}).decode(), flush=True)
    observer = Observer(job, run_dir)
    try:
        hub = Hub(observer)
        _Server(make_app(job, run_dir, hub), hub).run(sockets=[listening])
    finally:
        observer.close()


def make_app(job: Job, run_dir: Path, hub: Hub) -> FastAPI:
    """The page and what it asks for; `hub` runs as long as the app does."""

    @contextlib.asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.run())
        yield
        task.cancel()

    app = FastAPI(
        title="Freshet dashboard", docs_url=None, redoc_url=None, openapi_url=None, lifespan=running
    )
    app.add_middleware(_Headers)
    _add_pages(app, job, run_dir, hub)
    app.mount("/assets", StaticFiles(directory=ASSETS), name="assets")
    return app


def _add_pages(app: FastAPI, job: Job, run_dir: Path, hub: Hub) -> None:
    @app.get("/")
    async def page() -> Response:
        """The page."""
        return FileResponse(ASSETS / "index.html", media_type="text/html")

    @app.get("/events")
    async def events() -> Response:
        """Server-sent events: `history` once, then an `observation` each second."""
        return StreamingResponse(hub.messages(), media_type="text/event-stream")

    @app.get("/job")
    async def job_file() -> Response:
        """What the job file sets, as YAML, without its secrets."""
        return PlainTextResponse(job_text(job))

    @app.get("/logs/{name}")
    async def log(name: str) -> Response:
        """The last lines of a part's log."""
        text = await asyncio.to_thread(log_tail, run_dir, name)
        if text is None:
            return PlainTextResponse(f"There is no log of a part named `{name}` here.\n", 404)
        return PlainTextResponse(text)

    @app.get("/healthz")
    async def healthz() -> Response:
        """200: the process answers."""
        return JSONResponse({"healthy": True})


class _Headers:
    """Adds the headers to every answer, streams included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host, int(port)), backlog=64)
    except (OSError, ValueError) as error:
        raise JobError(
            f"dashboard.address: can't listen on {address}: {error}. Give a free host:port."
        ) from error


class _Server(uvicorn.Server):
    """Ends the streams first: they would keep it alive."""

    def __init__(self, app: FastAPI, hub: Hub) -> None:
        # Else uvicorn hands the signal on after its own shutdown, and the process dies of it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        super().__init__(
            uvicorn.Config(
                app, log_level="warning", access_log=False, timeout_graceful_shutdown=_STOP_TIMEOUT_S
            )
        )
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: called in the thread of the event loop, between two of its steps."""
        self._hub.close()
        super().handle_exit(sig, frame)
