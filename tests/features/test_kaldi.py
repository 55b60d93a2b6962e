"""Kaldi's filterbank features against their definition, frame by frame in double precision."""

import math

import numpy as np
import pytest
import torch

from earmark.features.kaldi import KaldiFbank, kaldi_filterbank


def mel(hz: float) -> float:
    return 1127 * math.log(1 + hz / 700)


def naive_bank(bands: int) -> np.ndarray:
    edges = np.linspace(mel(20), mel(8000), bands + 2)
    bank = np.zeros((bands, 257))
    for band, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        for k in range(257):
            m = mel(k * 8000 / 256)
            if left < m < right:
                bank[band, k] = (
                    (m - left) / (centre - left) if m <= centre else (right - m) / (right - centre)
                )
    return bank


def naive_fbank(x: np.ndarray, bands: int) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    columns = []
    for start in range(0, len(x) - 399, 160):
        frame = x[start : start + 400] - x[start : start + 400].mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, 512)) ** 2
        columns.append(np.log(np.maximum(naive_bank(bands) @ power, np.finfo(np.float32).eps)))
    return np.stack(columns, 1)


def test_filterbank_by_hand() -> None:
    for bands in (23, 128):
        assert np.abs(kaldi_filterbank(bands).numpy() - naive_bank(bands)).max() < 1e-6


@pytest.mark.parametrize("samples", [400, 1999, 2000])
def test_equals_the_definition(samples: int) -> None:
    noise = np.random.default_rng(0).standard_normal(samples)
    tone = np.sin(2 * np.pi * 3000 / 16000 * np.arange(samples)) + 0.1
    x = np.stack([noise, tone, np.zeros(samples)]).astype(np.float32)
    ours = KaldiFbank(40)(torch.from_numpy(x)).numpy()
    assert ours.shape == (3, 40, 1 + (samples - 400) // 160)
    for one, row in zip(ours, x):
        assert np.abs(one - naive_fbank(row.astype(float), 40)).max() < 2e-3


def test_less_than_a_frame_is_one_frame() -> None:
    assert KaldiFbank()(torch.randn(1, 7)).shape == (1, 128, 1)
