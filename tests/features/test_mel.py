"""Mel filterbanks against librosa, and the recipe's against its definition."""

import math

import librosa
import numpy as np
import pytest
import torch

from earmark.features.mel import hz_to_mel, mel_filterbank, mel_to_hz


@pytest.mark.parametrize(("rate", "n_fft", "n_mels", "low", "high"), [
    (16000, 1024, 80, 0, None),
    (32000, 1024, 64, 50, 14000),
    (22050, 512, 40, 20, 8000),
])  # fmt: skip
def test_equals_librosa(rate: int, n_fft: int, n_mels: int, low: float, high: float | None) -> None:
    for scale, htk, norm in (("htk", True, None), ("slaney", False, "slaney")):
        ours = mel_filterbank(rate, n_fft, n_mels, low, high, scale)
        peers = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high, htk=htk, norm=norm
        )
        assert np.abs(ours.numpy() - peers).max() < 1e-6


def test_recipe_triangles_by_hand() -> None:
    bank = mel_filterbank(16000, 1024, 80, scale="recipe")
    mel = [2595 * math.log10(1 + 8000 / 700) * i / 81 for i in range(82)]
    hz = [700 * (10 ** (m / 2595) - 1) for m in mel]
    for band in (0, 17, 79):
        centre, half_width = hz[band + 1], hz[band + 1] - hz[band]
        for k in range(513):
            expected = max(0.0, 1 - abs(k * 15.625 - centre) / half_width)
            assert abs(expected - bank[band, k].item()) < 1e-6


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_scales_invert(scale: str) -> None:
    frequency = torch.linspace(0, 12000, 500, dtype=torch.float64)
    assert torch.allclose(mel_to_hz(hz_to_mel(frequency, scale), scale), frequency)
