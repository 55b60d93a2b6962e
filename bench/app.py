"""How long a visitor of `earmark app` waits, over the classifier's own forward pass.

    python bench/app.py [--sounds 20] [--threads 2] [--into docs/app.md]

5 s of noise with a tone are sent to a server on this machine, and asked for until the page's data is there;
with the bundled model and its first method. All files and labels are written, as always.
"""

from __future__ import annotations

import argparse
import io
import statistics
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import soundfile
import torch
import uvicorn
from tables import emit

import earmark
from earmark.app.server import build
from earmark.app.service import Service
from earmark.web import address_of, listen

LOOK_EVERY = 0.02  # seconds; the page looks every 0.12 s at first


def sound(rate: int, seed: int) -> bytes:
    """Return 5 s of a tone in noise as a WAV file."""
    rng = np.random.default_rng(seed)
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(300, 3000) * np.arange(5 * rate) / rate)
    content = io.BytesIO()
    soundfile.write(content, tone + 0.05 * rng.standard_normal(len(tone)), rate, format="WAV")
    return content.getvalue()


def wait(client: httpx.Client, content: bytes) -> float:
    """Return the seconds until a sound's page is here."""
    started = time.perf_counter()
    name = client.post("/api/sounds", params={"name": "a.wav"}, content=content).json()["id"]
    while client.get(f"/api/sounds/{name}").json()["state"] != "done":
        time.sleep(LOOK_EVERY)
    client.get(f"/api/sounds/{name}/windows/0").raise_for_status()
    seconds = time.perf_counter() - started
    client.delete(f"/api/sounds/{name}")
    return seconds


def forward(model: earmark.Model, count: int) -> float:
    """Return the median seconds of the classifier's forward pass over 5 s."""
    classifier, taken = model.classifier, []
    waveform = 0.1 * torch.randn(1, 5 * classifier.spectrogram.sample_rate)
    with torch.inference_mode():
        for _ in range(count + 1):
            started = time.perf_counter()
            classifier(waveform)
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def main() -> None:
    """Run the server, ask it, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path, nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = earmark.load("esc10")
    floor = forward(model, given.sounds)
    service = Service(model)
    service.try_out()
    with listen("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(build(service), log_level="error", ws="none"))
        threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
        with httpx.Client(base_url=address_of(bound), timeout=60) as client:
            rate = model.classifier.spectrogram.sample_rate
            taken = [wait(client, sound(rate, seed)) for seed in range(given.sounds)]
        server.should_exit = True
    named = {"the classifier alone": floor, "median": statistics.median(taken), "longest": max(taken)}
    rows = [(name, f"{seconds:.3f}", f"{seconds / floor:.1f}") for name, seconds in named.items()]
    emit("app", ("5 s of sound", "seconds", "over the forward pass"), rows, given.into or [])


if __name__ == "__main__":
    main()
