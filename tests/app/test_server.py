"""The page's server: ten at once, nothing of the machine can be read, and nothing is left behind."""

from __future__ import annotations

import io
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earmark

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'earmark[app]'")
from fastapi.testclient import TestClient

from earmark.app.jobs import Jobs
from earmark.app.server import build
from earmark.app.service import Limits, Service
from earmark.errors import OutputError
from earmark.web import listen

RATE = 16_000
HOME = "http://127.0.0.1"


def wav(seconds: float, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    content = io.BytesIO()
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(round(seconds * RATE)) / RATE)
    soundfile.write(content, tone + 0.02 * rng.standard_normal(len(tone)), RATE, format="WAV")
    return content.getvalue()


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(earmark.load("esc10"), limits=Limits(minutes=0.5, megabytes=2))


@pytest.fixture(scope="module")
def jobs(service: Service) -> Jobs:
    return Jobs(service.explain)


@pytest.fixture(scope="module")
def client(service: Service, jobs: Jobs) -> Iterator[TestClient]:
    with TestClient(build(service, jobs), base_url=HOME) as client:
        yield client


def send(client: TestClient, content: bytes, name: str = "a.wav", **wish: str) -> str:
    answer = client.post("/api/sounds", params={"name": name, **wish}, content=content)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def wait(client: TestClient, name: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (told := client.get(f"/api/sounds/{name}").json())["state"] not in ("done", "failed"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return dict(told)


def refusal(client: TestClient, content: bytes, name: str = "a.wav", **wish: str) -> tuple[int, str]:
    answer = client.post("/api/sounds", params={"name": name, **wish}, content=content)
    return answer.status_code, answer.json()["error"]


def test_the_page_and_what_it_needs_are_served_under_a_strict_policy(client: TestClient) -> None:
    for path in ("/", "/app.css", "/app.js", "/sound.js", "/player.js", "/report.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    (model,) = client.get("/api/about").json()["models"]
    assert (model["name"], model["method"], len(model["labels"])) == ("esc10", "lmac", 10)
    assert "random" not in [method["name"] for method in model["methods"]]


def test_a_sound_is_explained_as_the_function_does(client: TestClient) -> None:
    content = wav(5)
    told = wait(client, name := send(client, content, "täst <b>.wav"))
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    same = earmark.explain((samples, RATE), check=True)
    assert (told["label"], told["state"]) == (same.label, "done")
    assert told["probability"] == pytest.approx(same.probability, abs=1e-6)
    page = client.get(f"/api/sounds/{name}/windows/0").json()
    (sound,) = page["list"]
    assert sound["name"] == "täst <b>.wav"
    assert sound["variants"][0]["trust"]["said"] == same.trust.said
    assert set(page["sounds"]) == {sound["audio"]}
    packed = zipfile.ZipFile(io.BytesIO(client.get(f"/api/sounds/{name}/files.zip").content))
    endings = {name.split(".", 1)[1] for name in packed.namelist()}
    assert endings >= {"listen.wav", "rest.wav", "png", "json", "raven.txt", "audacity.txt", "TextGrid"}
    kept, _ = soundfile.read(io.BytesIO(packed.read(next(n for n in packed.namelist() if "listen" in n))))
    np.testing.assert_allclose(kept, same.listenable.numpy(), atol=1e-4)


def test_a_zip_leaves_nothing_behind_whatever_is_asked_of_it(client: TestClient, jobs: Jobs) -> None:
    wait(client, name := send(client, wav(1)))
    for asked in ("bytes=99999999-", "bytes=abc", "items=0-1", "bytes=0-10"):
        answer = client.get(f"/api/sounds/{name}/files.zip", headers={"Range": asked})
        assert zipfile.is_zipfile(io.BytesIO(answer.content))
    assert [path.name for path in jobs.folder.iterdir() if path.is_file()] == []


def test_a_name_that_a_proxy_goes_by_can_be_given(service: Service) -> None:
    app = build(service, names=["sounds.example.org"])
    with TestClient(app, base_url="http://sounds.example.org") as client:
        assert client.get("/api/about").status_code == 200
        headers = {"origin": "https://sounds.example.org"}
        assert client.post("/api/sounds", content=b"", headers=headers).status_code == 415


def test_a_long_sound_has_a_timeline_whose_windows_open(client: TestClient) -> None:
    told = wait(client, name := send(client, wav(12), method="gradcam", target="dog"))
    assert len(told["windows"]) > 2
    assert told["label"] == "dog"
    for number, window in enumerate(told["windows"]):
        (sound,) = client.get(f"/api/sounds/{name}/windows/{number}").json()["list"]
        assert sound["samples"] == pytest.approx((window["end"] - window["start"]) * RATE, abs=2)
    assert client.get(f"/api/sounds/{name}/windows/99").status_code == 404
    assert client.get(f"/api/sounds/{name}/windows/-1").status_code == 404


def test_ten_at_once_are_queued_and_none_is_lost(client: TestClient) -> None:
    sounds = [wav(2, seed) for seed in range(10)]
    expected = [
        earmark.explain((soundfile.read(io.BytesIO(one), dtype="float32")[0], RATE)) for one in sounds
    ]
    with ThreadPoolExecutor(10) as pool:
        names = list(pool.map(lambda one: send(client, one), sounds))
        told = list(pool.map(lambda name: wait(client, name), names))
    assert len(set(names)) == 10
    for one, found in zip(told, expected):
        assert one["state"] == "done"
        assert one["label"] == found.label
        assert one["probability"] == pytest.approx(found.probability, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "name", "wish", "status", "said"),
    [
        (b"", "a.wav", {}, 415, "a.wav is empty"),
        (b"Dear sir,\nthis is text.\n" * 50, "letter.wav", {}, 415, "letter.wav"),
        (b"\0" * 2_100_000, "big.wav", {}, 415, "big.wav is too large; expected at most 2 MB"),
        (wav(35), "long.wav", {}, 415, "long.wav is 0.6 minutes long; expected at most 0.5 minutes"),
        (wav(1), "a.wav", {"method": "nope"}, 400, "no method 'nope'"),
        (wav(1), "a.wav", {"model": "nope"}, 400, "no model 'nope'"),
        (wav(1), "a.wav", {"target": "<script>"}, 400, "<script>"),
        (wav(1), "a.wav", {"method": "x" * 101}, 422, "method"),
    ],
)
def test_what_cannot_be_taken_is_told_in_a_line(
    client: TestClient, content: bytes, name: str, wish: dict[str, str], status: int, said: str
) -> None:
    found, line = refusal(client, content, name, **wish)
    assert (found, said in line, "\n" in line) == (status, True, False), line
    assert "/tmp" not in line


def test_three_hours_are_refused_before_they_are_decoded(client: TestClient) -> None:
    content = io.BytesIO()
    # Three hours of nothing are small in FLAC; decoded they are 700 MB.
    with soundfile.SoundFile(content, "w", RATE, 1, format="FLAC") as file:
        for _ in range(180):
            file.write(np.zeros(60 * RATE, dtype="int16"))
    service_limit = 2_000_000
    assert len(content.getvalue()) < service_limit
    started = time.perf_counter()
    assert refusal(client, content.getvalue(), "night.flac") == (
        415,
        "night.flac is 180.0 minutes long; expected at most 0.5 minutes; "
        "send a piece of it, or use `earmark explain`, which takes any length",
    )
    assert time.perf_counter() - started < 5  # a decoding alone takes longer


def test_a_header_that_lies_about_the_length_is_found_out(client: TestClient) -> None:
    content = bytearray(wav(40))
    # A WAV whose data chunk says that it is empty, as those who stream them write it, is read to its end.
    content[40:44] = (0xFFFFFFFF).to_bytes(4, "little")
    answer = client.post("/api/sounds", params={"name": "liar.wav"}, content=bytes(content))
    said = answer.json()["error"] if answer.status_code != 202 else wait(client, answer.json()["id"])["error"]
    assert "liar.wav" in said
    assert "at most 0.5 minutes" in said


def test_silence_fails_in_a_line_with_its_own_name(client: TestClient) -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(RATE), RATE, format="WAV")
    told = wait(client, send(client, content.getvalue(), "quiet.wav"))
    assert told["state"] == "failed"
    assert "quiet.wav" in told["error"]
    assert "/tmp" not in told["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/app.js/../app.py",
        "/api/sounds/..%2f..%2fetc%2fpasswd",
        "/api/sounds/../files.zip",
        "/api/sounds/x/windows/..%2f..",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_can_be_read(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 405, 422)
    assert "root:" not in answer.text


def test_a_name_is_never_a_path(client: TestClient, jobs: Jobs) -> None:
    name = send(client, wav(1), "../../../../tmp/earmark_escaped.wav")
    wait(client, name)
    packed = zipfile.ZipFile(io.BytesIO(client.get(f"/api/sounds/{name}/files.zip").content))
    assert all("/" not in one and ".." not in one for one in packed.namelist())
    assert not list(Path("/tmp").glob("earmark_escaped*"))
    assert {file.parent for file in jobs.folder.rglob("*.json")} <= {
        *jobs.folder.glob("*/files"),
        *jobs.folder.iterdir(),
    }


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"host": "evil.example"}, 421),
        ("GET", {"host": "127.0.0.1.evil.example"}, 421),
        ("GET", {"host": "localhost:7860"}, 200),
        ("POST", {"host": "localhost", "origin": "https://evil.example"}, 403),
        ("POST", {"host": "localhost", "origin": "null"}, 403),
    ],
)
def test_other_pages_on_the_web_are_kept_out(
    client: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    path = "/api/about" if method == "GET" else "/api/sounds"
    assert client.request(method, path, headers=headers).status_code == status


def test_a_sound_can_be_stopped_and_is_forgotten(client: TestClient, jobs: Jobs) -> None:
    name = send(client, wav(20), method="integrated-gradients")
    assert (jobs.folder / name).is_dir()
    assert client.delete(f"/api/sounds/{name}").status_code == 204
    end = time.monotonic() + 30
    while (jobs.folder / name).exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert client.get(f"/api/sounds/{name}").status_code == 404


def test_files_go_with_the_server_and_old_ones_before(service: Service) -> None:
    jobs = Jobs(service.explain, most_kept=2)
    with TestClient(build(service, jobs), base_url=HOME) as client:
        names = [send(client, wav(1, seed)) for seed in range(4)]
        told = [client.get(f"/api/sounds/{name}").status_code for name in names]
        assert told == [200] * 4
        wait(client, names[-1])
        assert client.get(f"/api/sounds/{names[0]}").status_code == 404
        assert client.get(f"/api/sounds/{names[-1]}").status_code == 200
        folder = jobs.folder
        assert folder.is_dir()
    assert not folder.exists()


def test_too_many_are_told_to_come_back(service: Service) -> None:
    with TestClient(build(service, Jobs(service.explain, most_waiting=1)), base_url=HOME) as client:
        send(client, wav(20), method="integrated-gradients")
        assert refusal(client, wav(1)) == (503, "the queue of 1 is full; try again in a minute")


def test_a_method_that_fails_ends_its_sound_and_not_the_queue(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.explain

    def explain(job: Any) -> Any:
        if job.wish.name == "bad.wav":
            raise ZeroDivisionError
        return real(job)

    with TestClient(build(service, Jobs(explain)), base_url=HOME) as client:
        bad, good = send(client, wav(1), "bad.wav"), send(client, wav(1), "good.wav")
        assert "ZeroDivisionError" in wait(client, bad)["error"]
        assert wait(client, good)["state"] == "done"


def test_a_port_that_is_taken_is_told_in_a_line() -> None:
    with listen("127.0.0.1", 0) as bound, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OutputError, match="choose another with --port"):
            listen("127.0.0.1", other.getsockname()[1])
        assert bound.getsockname()[0] == "127.0.0.1"


def test_models_of_one_name_can_be_told_apart() -> None:
    model = earmark.load("esc10")
    service = Service(model, model)
    assert list(service.offers) == ["esc10", "esc10 (2)"]
    service.try_out()
