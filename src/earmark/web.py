"""What every page that earmark serves needs: who may ask, what browsers are to keep to, errors in a line."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from earmark.errors import AudioError, EarmarkError, ModelError, OutputError

STATUSES: dict[type[EarmarkError], int] = {AudioError: 415, ModelError: 400, OutputError: 507}
_LAST_WORDS = 3  # seconds that those who are being answered have at the end
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})

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
        names: by which others know it, as behind a proxy.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", names: Sequence[str] = ()) -> None:
        self.app = app
        bare = host.strip("[]").lower()
        self.hosts = _LOCAL | {bare, f"[{bare}]", *(name.lower() for name in names)}
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
            answer = trouble(421, "this page has no such name; open it by the address it printed")
            await answer(scope, receive, send_guarded)
        elif not _is_own(scope["method"], headers):
            await trouble(403, "another page may not send to this one")(scope, receive, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def _is_meant(self, host: str) -> bool:
        name = _without_port(host.lower())
        return name in self.hosts or (self.any_address and _is_address(name.strip("[]")))


def make_server(
    host: str,
    static: Mapping[str, tuple[str, str, str]],
    statuses: Mapping[type[EarmarkError], int] | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    names: Sequence[str] = (),
) -> FastAPI:
    """Return a server of pages, with its guard, its errors and its files.

    Args:
        host: the address that it will be bound to.
        static: package, name in its templates, and media type, by path; no other file can be read.
        statuses: which HTTP status tells of which error.
        lifespan: what is entered and left with it.
        names: by which others know it, as behind a proxy.
    """
    app = FastAPI(title="earmark", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, host=host, names=names)
    _add_errors(app, STATUSES | dict(statuses or {}))
    _add_static(app, static)
    return app


def _add_static(app: FastAPI, static: Mapping[str, tuple[str, str, str]]) -> None:
    for path, (package, name, kind) in static.items():
        content = (files(package) / "templates" / name).read_bytes()
        app.add_api_route(path, _giver(content, kind), methods=["GET"])


def _giver(content: bytes, kind: str) -> Callable[[], Response]:
    def give() -> Response:
        return Response(content, media_type=kind)

    return give


def _add_errors(app: FastAPI, statuses: Mapping[type[EarmarkError], int]) -> None:
    """Let every error be one line of text under "error"."""
    for kind, status in statuses.items():
        app.add_exception_handler(kind, _teller(status))

    @app.exception_handler(OSError)
    def no_file(_: Request, error: OSError) -> JSONResponse:
        if isinstance(error, FileNotFoundError):
            return trouble(404, "this is here no more")
        if isinstance(error, TimeoutError):
            return trouble(408, "this took too long to arrive; send it again")
        return trouble(507, f"the server cannot keep this: {error.strerror or 'its disk fails'}")

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return trouble(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def wrong(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return trouble(422, f"{first['loc'][-1]}: {first['msg']}")


def _teller(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def tell(_: Request, error: Exception) -> JSONResponse:
        return trouble(status, str(error))

    return tell


def trouble(status: int, line: str) -> JSONResponse:
    """Return an answer that says in a line what is wrong."""
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
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Answer until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=_LAST_WORDS,
    )
    uvicorn.Server(config).run(sockets=[bound])
