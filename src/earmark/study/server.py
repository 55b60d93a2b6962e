"""The same experiment on a small page of earmark's own, for those without PHP."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from earmark.study.plan import INSTRUCTIONS, WELCOME, Study, Trial
from earmark.study.store import Store
from earmark.web import make_server, trouble

# All that can be read, beside the study's own sounds.
_STATIC = {
    "/": ("earmark.study", "study.html", "text/html"),
    "/study.css": ("earmark.study", "study.css", "text/css"),
    "/study.js": ("earmark.study", "study.js", "text/javascript"),
    "/report.css": ("earmark.report", "report.css", "text/css"),
}


def build(
    study: Study, folder: Path, store: Store, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> FastAPI:
    """Return the server.

    Args:
        study: its plan.
        folder: where it lies.
        store: where ratings go.
        host: the address that it will be bound to.
        names: by which others know it, as behind a proxy.
    """
    app = make_server(host, _STATIC, names=names)

    @app.exception_handler(sqlite3.Error)
    def not_stored(_: Request, error: sqlite3.Error) -> JSONResponse:
        return trouble(507, f"ratings cannot be stored: {error}")

    audio = study.audio(folder)

    @app.post("/api/listeners", status_code=201)
    def begin() -> dict[str, str]:
        return {"id": store.begin()}

    @app.get("/api/listeners/{listener}")
    def session(listener: str) -> dict[str, Any]:
        return _told(study, _order(study, store, listener), listener, store.ratings(listener))

    @app.get("/api/listeners/{listener}/sounds/{page}/{place}")
    def sound(listener: str, page: int, place: str) -> Response:
        trial, codes = _page(_order(study, store, listener), page)
        file = trial.reference if place == "reference" else _file(trial, _code(codes, place))
        return Response((audio / file).read_bytes(), media_type="audio/wav")

    @app.put("/api/listeners/{listener}/ratings/{page}/{place}")
    def rate(
        listener: str, page: int, place: str, score: Annotated[float, Body(embed=True, ge=0, le=100)]
    ) -> dict[str, float]:
        trial, codes = _page(_order(study, store, listener), page)
        store.rate(listener, trial.id, _code(codes, place), score)
        return {"score": score}

    return app


_Order = list[tuple[Trial, list[str]]]


def _order(study: Study, store: Store, listener: str) -> _Order:
    """Return a listener's own order of recordings, and of what is rated in each; the same every time.

    Listeners are told places in it only, so that nobody can learn which sounds are of one method.
    """
    seed = store.seed(listener)
    if seed is None:
        raise HTTPException(404, "this study knows no such listener; begin anew")
    chance = random.Random(seed)
    trials = chance.sample(study.trials, len(study.trials))
    return [(trial, chance.sample(study.rated, len(study.rated))) for trial in trials]


def _told(
    study: Study, order: _Order, listener: str, ratings: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    pages = []
    for number, (trial, codes) in enumerate(order):
        address = f"api/listeners/{listener}/sounds/{number}"
        scores = [ratings.get((trial.id, code)) for code in codes]
        sounds = [f"{address}/{place}" for place in range(len(codes))]
        pages.append(
            {"label": trial.label, "reference": f"{address}/reference", "sounds": sounds, "scores": scores}
        )
    return {"title": study.title, "welcome": WELCOME, "instructions": list(INSTRUCTIONS), "pages": pages}


def _page(order: _Order, page: int) -> tuple[Trial, list[str]]:
    if not 0 <= page < len(order):
        raise HTTPException(404, f"there is no page {page}")
    return order[page]


def _code(codes: list[str], place: str) -> str:
    if not (place.isdecimal() and len(place) < 4 and int(place) < len(codes)):
        raise HTTPException(404, f"there is no sound {place!r}")
    return codes[int(place)]


def _file(trial: Trial, code: str) -> str:
    return trial.stimuli.get(code, trial.reference)  # the hidden reference is the whole sound
