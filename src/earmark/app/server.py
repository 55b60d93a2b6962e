"""The page's server: it takes sounds, says how far they are, and gives back what came of them."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote

import anyio
from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from earmark.app.jobs import FullError, Job, Jobs
from earmark.app.service import Service
from earmark.errors import AudioError
from earmark.web import make_server

_SLOWEST = 600.0  # seconds that an upload may take
_SILENT = 20.0  # seconds in which nothing of it may come
_CHUNK = 1 << 16  # bytes

# All that can be read, and nothing beside it: names of requests never become paths.
_STATIC = {
    "/": ("earmark.app", "app.html", "text/html"),
    "/app.css": ("earmark.app", "app.css", "text/css"),
    "/app.js": ("earmark.app", "app.js", "text/javascript"),
    "/sound.js": ("earmark.report", "sound.js", "text/javascript"),
    "/player.js": ("earmark.report", "player.js", "text/javascript"),
    "/report.css": ("earmark.report", "report.css", "text/css"),
}


def build(
    service: Service, jobs: Jobs | None = None, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> FastAPI:
    """Return the server.

    Args:
        service: what explains.
        jobs: the queue in front of it; entered and left with the server.
        host: the address that it will be bound to.
        names: by which others know it, as behind a proxy.
    """
    queue = jobs or Jobs(service.explain)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with queue:
            yield

    app = make_server(host, _STATIC, {FullError: 503}, lifespan, names)
    _add_sounds(app, service, queue)
    _add_results(app, service, queue)
    return app


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
        except BaseException as error:
            jobs.stop(job)
            if isinstance(error, ClientDisconnect):  # nobody is there to be told
                raise HTTPException(400, "the upload broke off") from error
            raise
        jobs.put(job)
        return {"id": job.id}


async def _receive(request: Request, job: Job, service: Service) -> None:
    """Write what is sent as it comes, and no more of it than is allowed."""
    size = 0
    stream = request.stream()
    with job.upload.open("wb") as file, anyio.fail_after(_SLOWEST):
        while True:
            with anyio.fail_after(_SILENT):
                chunk = await anext(stream, None)
            if chunk is None:
                break
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
    def pack(name: str) -> StreamingResponse:
        job = find(name)
        # A file without a name goes when it is closed, however the answer ends.
        file = tempfile.TemporaryFile(dir=jobs.folder)  # noqa: SIM115 (the answer outlives this function)
        called = quote(service.pack(job, file))
        headers = {"Content-Length": str(file.seek(0, io.SEEK_END))}
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{called}"
        file.seek(0)
        chunks = iter(lambda: file.read(_CHUNK), b"")
        return StreamingResponse(chunks, media_type="application/zip", headers=headers)


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
