"""The study's own server: each listener has an order of their own, and no rating is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'earmark[study]'")
from fastapi.testclient import TestClient

from earmark.study.build import Builder, Recording
from earmark.study.plan import INSTRUCTIONS, Study
from earmark.study.server import build
from earmark.study.store import Store, stored

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    codes = {"C1": "lmac", "C2": "l2i", "C3": "gradcam"}
    builder = Builder(folder, Study(id="s", title="T", conditions=codes, trials=[], hidden_reference=True))
    for seed in range(6):
        whole = 0.1 * np.random.default_rng(seed).standard_normal(RATE).astype(np.float32)
        parts = {name: np.roll(whole, 1000 * place) for place, name in enumerate(codes.values(), 1)}
        builder.add(Recording(f"{seed}.wav", "a", "dog", RATE, whole, parts))
    builder.finish()
    return folder


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Iterator[TestClient]:
    from earmark.study.plan import read_study

    study = read_study(folder)
    app = build(study, folder, Store(tmp_path / "ratings.db", study.id))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def begin(client: TestClient) -> str:
    return str(client.post("/api/listeners").json()["id"])


def session(client: TestClient, listener: str) -> dict[str, Any]:
    return dict(client.get(f"/api/listeners/{listener}").json())


def test_a_listener_hears_what_was_built_and_comes_back_to_it(client: TestClient, folder: Path) -> None:
    listener = begin(client)
    told = session(client, listener)
    assert told["instructions"] == list(INSTRUCTIONS)
    assert len(told["pages"]) == 6
    assert {len(page["sounds"]) for page in told["pages"]} == {4}
    for secret in ("lmac", "l2i", "gradcam", "C1", "rec01", "reference.wav"):
        assert secret not in str(told)
    sound = client.get("/" + told["pages"][0]["reference"])
    assert sound.headers["content-type"] == "audio/wav"
    assert sound.content in {path.read_bytes() for path in folder.rglob("*_ref.wav")}
    answer = client.put(f"/api/listeners/{listener}/ratings/0/2", json={"score": 73})
    assert answer.json() == {"score": 73}
    again = session(client, listener)
    assert again["pages"][0]["scores"] == [None, None, 73, None]
    again["pages"][0]["scores"] = told["pages"][0]["scores"]
    assert again == told


def test_what_is_rated_is_what_was_heard(client: TestClient, folder: Path, tmp_path: Path) -> None:
    listener = begin(client)
    heard: dict[tuple[str, str], float] = {}
    files = {path.read_bytes(): path.stem for path in folder.rglob("*.wav")}
    for number, page in enumerate(session(client, listener)["pages"]):
        for place, address in enumerate(page["sounds"]):
            trial, code = files[client.get(f"/{address}").content].split("_")
            score = 10 * number + place
            client.put(f"/api/listeners/{listener}/ratings/{number}/{place}", json={"score": score})
            heard[trial, "reference" if code == "ref" else code.upper()] = score
    assert {(trial, code): score for _, trial, code, score in stored(tmp_path / "ratings.db")} == heard
    assert len(heard) == 24


def test_orders_differ_between_listeners(client: TestClient) -> None:
    firsts = set()
    for _ in range(12):
        listener = begin(client)
        page = session(client, listener)["pages"][0]
        firsts.add(client.get("/" + page["reference"]).content)
    assert len(firsts) > 2


def test_many_at_once_and_twice_are_stored_once(client: TestClient, tmp_path: Path) -> None:
    listeners = [begin(client) for _ in range(10)]
    wanted = [(one, page, place) for one in listeners for page in range(6) for place in range(4)]

    def rate(what: tuple[str, int, int]) -> int:
        listener, page, place = what
        path = f"/api/listeners/{listener}/ratings/{page}/{place}"
        return client.put(path, json={"score": 50}).status_code

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(rate, wanted * 2)) == {200}
    assert len(stored(tmp_path / "ratings.db")) == len(wanted)


@pytest.mark.parametrize("score", [-1, 101, "nan", "much", None])
def test_what_is_no_rating_is_refused(client: TestClient, score: object) -> None:
    listener = begin(client)
    answer = client.put(f"/api/listeners/{listener}/ratings/0/0", json={"score": score})
    assert answer.status_code == 422
    assert "score" in answer.json()["error"]
    assert session(client, listener)["pages"][0]["scores"][0] is None


@pytest.mark.parametrize(
    "path",
    [
        "/api/listeners/nobody",
        "/api/listeners/{}/sounds/9/0",
        "/api/listeners/{}/sounds/0/9",
        "/api/listeners/{}/sounds/0/-1",
        "/api/listeners/{}/sounds/0/..%2f..%2fstudy.json",
        "/api/listeners/{}/sounds/-1/reference",
        "/study.json",
        "/ratings.db",
        "/..%2fratings.db",
    ],
)
def test_nothing_else_can_be_read(client: TestClient, path: str) -> None:
    answer = client.get(path.format(begin(client)))
    assert answer.status_code == 404, answer.text


def test_a_sound_that_is_gone_is_told(client: TestClient, folder: Path) -> None:
    listener = begin(client)
    page = session(client, listener)["pages"][0]
    content = client.get("/" + page["reference"]).content
    (path,) = (one for one in folder.rglob("*_ref.wav") if one.read_bytes() == content)
    path.unlink()
    try:
        answer = client.get("/" + page["reference"])
        assert answer.status_code == 404
    finally:
        path.write_bytes(content)
    assert soundfile.info(path).frames == RATE
