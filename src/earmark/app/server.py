"""The page's server: it takes sounds, says how far they are, and gives back what came of them."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from earmark.app.jobs import FullError, Job, Jobs
from earmark.app.service import Service
from earmark.errors import AudioError, ModelError, OutputError

_SLOWEST = 600.0  # seconds that an upload may take
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})

# All that can be read, and nothing beside it: names of requests never become paths.
_STATIC = {
    "/": ("earmark.app", "app.html", "text/html"),
    "/app.css": ("earmark.app", "app.css", "text/css"),
    "/app.js": ("earmark.app", "app.js", "text/javascript"),
    "/player.js": ("earmark.report", "player.js", "text/javascript"),
    "/report.css": ("earmark.report", "report.css", "text/css"),
}

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers only those who mean this server, and adds what browsers are to keep to.

    A page elsewhere on the web can lead a name of its own to this address and then read from it as if it
    were its own (DNS rebinding), or send forms to it. The first has its own name in ``Host``, the second in
    ``Origin``.

    Args:
        app: what is guarded.
        host: the address that it is bound to.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1") -> None:
        self.app = app
        bare = host.strip("[]").lower()
        self.hosts = _LOCAL | {bare, f"[{bare}]"}
        # No name can be led to an address that a visitor has typed as numbers.
        self.any_address = not _is_loopback(bare)
        if self.any_address:
            self.hosts |= {socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        if not self._is_meant(headers.get("host", "")):
            answer = _trouble(421, "this page has no such name; open it by the address it printed")
            await answer(scope, receive, send_guarded)
        elif not _is_own(scope["method"], headers):
            await _trouble(403, "another page may not send to this one")(scope, receive, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def _is_meant(self, host: str) -> bool:
        name = _without_port(host.lower())
        return name in self.hosts or (self.any_address and _is_address(name.strip("[]")))


def build(service: Service, jobs: Jobs | None = None, host: str = "127.0.0.1") -> FastAPI:
    """Return the server.

    Args:
        service: what explains.
        jobs: the queue in front of it; entered and left with the server.
        host: the address that it will be bound to.
    """
    queue = jobs or Jobs(service.explain)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with queue:
            yield

    app = FastAPI(title="earmark", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, host=host)
    _add_errors(app)
    _add_static(app)
    _add_sounds(app, service, queue)
    _add_results(app, service, queue)
    return app


def _add_static(app: FastAPI) -> None:
    for path, (package, name, kind) in _STATIC.items():
        content = (files(package) / "templates" / name).read_bytes()
        app.add_api_route(path, _giver(content, kind), methods=["GET"])


def _giver(content: bytes, kind: str) -> Callable[[], Response]:
    def give() -> Response:
        return Response(content, media_type=kind)

    return give


def _add_sounds(app: FastAPI, service: Service, jobs: Jobs) -> None:
    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return service.about()

    @app.post("/api/sounds", status_code=202)
    async def take(
        request: Request,
        name: Annotated[str, Query(max_length=1000)] = "",
        model: Annotated[str, Query(max_length=1000)] = "",
        method: Annotated[str, Query(max_length=100)] = "",
        target: Annotated[str, Query(max_length=1000)] = "",
    ) -> dict[str, str]:
        wish = await run_in_threadpool(service.wish, name, model, method, target)
        size = request.headers.get("content-length", "")
        service.limits.check_size(int(size) if size.isdigit() else 0, wish.name)
        job = jobs.begin(wish)
        try:
            await _receive(request, job, service)
            await run_in_threadpool(service.look_at, job.upload, wish.name)
        except BaseException:
            jobs.stop(job)
            raise
        jobs.put(job)
        return {"id": job.id}


async def _receive(request: Request, job: Job, service: Service) -> None:
    """Write what is sent as it comes, and no more of it than is allowed."""
    size = 0
    with job.upload.open("wb") as file, anyio.fail_after(_SLOWEST):
        async for chunk in request.stream():
            size += len(chunk)
            service.limits.check_size(size, job.wish.name)
            file.write(chunk)
    if not size:
        raise AudioError(f"{job.wish.name} is empty (0 bytes)", "a sound file", "copy or record it again")


def _add_results(app: FastAPI, service: Service, jobs: Jobs) -> None:
    def find(name: str, finished: bool = True) -> Job:
        job = jobs.get(name)
        if job is None or (finished and job.state != "done"):
            raise HTTPException(404, "this sound is not here, or no more; send it again")
        return job

    @app.get("/api/sounds/{name}")
    def status(name: str) -> dict[str, Any]:
        job = find(name, finished=False)
        return _told(job, jobs.ahead(job) if job.state == "waiting" else 0)

    @app.delete("/api/sounds/{name}", status_code=204)
    def stop(name: str) -> Response:
        jobs.stop(find(name, finished=False))
        return Response(status_code=204)

    @app.get("/api/sounds/{name}/windows/{number}")
    def window(name: str, number: int) -> Response:
        job = find(name)
        if not 0 <= number < len(job.result["timeline"]):
            raise HTTPException(404, f"there is no window {number}")
        return Response(service.page(job, number), media_type="application/json")

    @app.get("/api/sounds/{name}/files.zip")
    def pack(name: str) -> FileResponse:
        job = find(name)
        path = jobs.folder / f"{secrets.token_hex(8)}.zip"
        try:
            called = service.pack(job, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename=called, background=gone)


def _told(job: Job, ahead: int) -> dict[str, Any]:
    told: dict[str, Any] = {"state": job.state, "ahead": ahead, "done": job.done, "total": job.total}
    told |= {"error": job.error, "seconds": round(job.seconds, 3)}
    if job.state == "done":
        names = ("label", "decision", "probability", "method")
        windows = [
            {name: moment[name] for name in ("start", "end", "label", "decision", "probability")}
            for moment in job.result["timeline"]
        ]
        told |= {name: job.result[name] for name in names} | {"windows": windows}
    return told


_STATUS: dict[type[Exception], int] = {FullError: 503, AudioError: 415, ModelError: 400, OutputError: 507}


def _add_errors(app: FastAPI) -> None:
    """Let every error be one line of text under "error"."""

    def known(_: Request, error: Exception) -> JSONResponse:
        return _trouble(_STATUS[type(error)], str(error))

    for kind in _STATUS:
        app.add_exception_handler(kind, known)

    @app.exception_handler(OSError)
    def no_file(_: Request, error: OSError) -> JSONResponse:
        if isinstance(error, FileNotFoundError):
            return _trouble(404, "this sound is here no more; send it again")
        return _trouble(507, f"the server cannot keep this: {error.strerror or 'its disk fails'}")

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _trouble(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _trouble(422, f"{first['loc'][-1]}: {first['msg']}")


def _trouble(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error": line}, status)


def _is_own(method: str, headers: Headers) -> bool:
    """Whether a request that changes something comes from this page, or from no page at all.

    >>> _is_own("POST", Headers({"host": "localhost:1", "origin": "http://localhost:1"}))
    True
    >>> _is_own("POST", Headers({"host": "localhost:1", "origin": "https://elsewhere"}))
    False
    """
    origin = headers.get("origin")
    if method in ("GET", "HEAD") or origin is None:
        return True
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _without_port(host: str) -> str:
    """Return a host's name alone.

    >>> _without_port("localhost:80"), _without_port("[::1]:80"), _without_port("[::1]")
    ('localhost', '[::1]', '[::1]')
    """
    head, colon, port = host.rpartition(":")
    return head if colon and port.isdigit() and not (head.startswith("[") and "]" not in head) else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, so that a port that is taken is told before a model is loaded.

    Raises:
        OutputError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()  # who comes early waits
    except OSError as error:
        given = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise OutputError(given, "a free port", "choose another with --port") from error
    return found


def address_of(bound: socket.socket) -> str:
    """Return what to open in a browser."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Answer until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none"
    )
    uvicorn.Server(config).run(sockets=[bound])
