"""What many tests need: a tiny model, sounds, and a tiny data set; all made from numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.model import Model, save_model

LABELS = ("dog", "rain", "clock")
RATE = 16000


def make_model() -> Model:
    """Make a tiny CNN14 with a tiny L-MAC, both with seeded random weights."""
    torch.manual_seed(0)
    classifier = Cnn14(Cnn14Config(labels=LABELS, width=1 / 16, n_mels=32, seconds=1.0)).eval()
    lmac = Lmac(classifier, LmacConfig(decoder=DecoderConfig(channels=(4, 8))))
    for module in (classifier, lmac.decoder):
        module.requires_grad_(False)
    return Model("tiny", classifier, {"lmac": lmac})


def make_sound(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Make a beep in quiet noise, (samples,) or (samples, channels)."""
    samples = round(seconds * rate)
    time = np.arange(samples) / rate
    beep = 0.4 * np.sin(2 * np.pi * 1000 * time) * (np.abs(time - seconds / 2) < seconds / 8)
    noise = 0.02 * np.random.default_rng(seed).standard_normal((samples, channels))
    sound = noise + beep[:, None]
    return sound[:, 0] if channels == 1 else sound


@pytest.fixture(scope="session")
def make_tiny() -> Callable[[], Model]:
    """Return what makes `tiny` anew, for tests that change it."""
    return make_model


@pytest.fixture(scope="session")
def tiny() -> Model:
    """Return a tiny classifier of dog, rain and clock with a tiny L-MAC; not to be changed."""
    return make_model()


@pytest.fixture(scope="session")
def model_dir(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of `tiny`; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny, folder)
    return folder


@pytest.fixture
def sound_file(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a sound, by default one second of one channel at 16 kHz, and returns its path."""

    def write(
        name: str = "beep.wav", seconds: float = 1.0, rate: int = RATE, channels: int = 1, seed: int = 0
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, make_sound(seconds, rate, channels, seed), rate)
        return path

    return write


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set laid out as ESC-50: 2 folds of 3 classes of 2 clips of 0.5 s."""
    root = tmp_path_factory.mktemp("data")
    (root / "audio").mkdir()
    (root / "meta").mkdir()
    rows = [
        {"filename": f"{fold}-{label}-{take}.wav", "fold": fold, "target": target, "category": label}
        for fold in (1, 2)
        for target, label in enumerate(LABELS)
        for take in "AB"
    ]
    for seed, row in enumerate(rows):
        soundfile.write(root / "audio" / str(row["filename"]), make_sound(0.5, 8000, seed=seed), 8000)
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root
