"""Noise in WHAM!'s layout."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.data.noise import random_noise, read_noise, read_noise_named
from earmark.errors import DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_files_come_in_order_mono_and_at_one_rate(tmp_path: Path) -> None:
    (tmp_path / "tr").mkdir()
    soundfile.write(tmp_path / "tr" / "b.wav", np.full(8000, 0.5), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "tr" / "a.wav", np.tile([0.2, 0.4], (16000, 1)), 16000, subtype="FLOAT")
    a, b = read_noise(tmp_path, "tr", 8000)
    assert len(a) == len(b) == 8000
    assert a[4000].item() == pytest.approx(0.3, abs=1e-4)
    assert b[4000].item() == pytest.approx(0.5)


def test_names_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "tt").mkdir()
    for level, name in enumerate(("street", "cafe_1.5", "noise"), 1):
        soundfile.write(tmp_path / "tt" / f"{name}.wav", np.full(800, level / 8), 8000, subtype="FLOAT")
    named = read_noise_named(tmp_path, "tt", 8000)
    assert [(name, float(noise[0])) for name, noise in named.items()] == [
        ("cafe_1.5", 2 / 8),
        ("noise", 3 / 8),
        ("street", 1 / 8),
    ]
    for ours, theirs in zip(read_noise(tmp_path, "tt", 8000), named.values(), strict=True):
        assert ours.equal(theirs)


def test_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cv does not exist; expected WHAM!'s layout.*wham\.whisper\.ai"):
        read_noise(tmp_path, "cv", 8000)
    (tmp_path / "cv").mkdir()
    with pytest.raises(DataError, match=r"cv has no \.wav file"):
        read_noise(tmp_path, "cv", 8000)


@pytest.mark.parametrize("frames", [0, 1])
def test_file_without_sound_is_named(tmp_path: Path, frames: int) -> None:
    (tmp_path / "tr").mkdir()
    soundfile.write(tmp_path / "tr" / "bad.wav", np.ones(frames), 192000)
    with pytest.raises(DataError, match=r"bad\.wav"):
        read_noise(tmp_path, "tr", 8000)


def test_pieces_are_pieces() -> None:
    """Ramps tell where each sample came from: every piece runs on by ones, or starts again when looped."""
    noises = [torch.arange(100.0), 1000 + torch.arange(7.0)]
    pieces = random_noise(noises, 64, 20, generator())
    assert pieces.shape == (64, 20)
    for piece in pieces:
        noise = noises[int(piece[0] >= 1000)]
        expected = (piece[0] - noise[0] + torch.arange(20)) % len(noise) + noise[0]
        torch.testing.assert_close(piece, expected)
        assert piece[0] < 1000 or len(piece.unique()) == 7


def test_every_file_and_every_start_is_drawn() -> None:
    pieces = random_noise([torch.arange(25.0), 100 + torch.arange(3.0)], 2000, 20, generator())
    starts, counts = pieces[:, 0].unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5, 100, 101, 102]
    assert counts[:6].sum().item() == pytest.approx(1000, abs=100)  # the files alike, though one is longer


def test_seed_decides() -> None:
    noises = [torch.arange(1000.0)]
    first, again, other = (random_noise(noises, 8, 20, generator(seed)) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_no_noise_is_told() -> None:
    with pytest.raises(DataError, match="no noise to draw from"):
        random_noise([], 1, 1, generator())


@pytest.mark.skipif(
    "EARMARK_DATA" not in os.environ, reason="EARMARK_DATA names the folder of real recordings"
)
def test_real_noise_is_read_and_short_files_are_looped() -> None:
    noises = read_noise(Path(os.environ["EARMARK_DATA"]) / "ambient", "tr", 8000)
    pieces = random_noise(noises, 4, 1 + max(len(noise) for noise in noises), generator())
    assert pieces.isfinite().all()
    assert pieces.any(dim=1).all()
