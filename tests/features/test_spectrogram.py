"""The STFT and its inverse."""

import librosa
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

HANN = SpectrogramConfig(
    sample_rate=32000, n_fft=1024, win_length=1024, hop_length=320, window="hann", pad="reflect"
)


@pytest.mark.parametrize("config", [SpectrogramConfig(), HANN], ids=["hamming", "hann"])
@pytest.mark.parametrize("samples", [1, 185, 186, 800, 929, 930, 1115, 16000, 79980, 80000, 80165])
def test_inverse_returns_every_sample(samples: int, config: SpectrogramConfig) -> None:
    waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    spectrogram = Spectrogram(config)
    stft = spectrogram(waveform)
    assert stft.shape == (2, 513, spectrogram.frames(samples))
    back = spectrogram.inverse(stft, samples)
    assert back.shape == waveform.shape
    assert (back - waveform).abs().max() < 1e-5


def test_frames_agree_with_transform() -> None:
    spectrogram = Spectrogram()
    for samples in (1, 186, 372, 80000):
        assert spectrogram(torch.zeros(1, samples)).shape == (1, 513, spectrogram.frames(samples))


def test_equals_naive_transform() -> None:
    config = SpectrogramConfig(sample_rate=100, n_fft=16, win_length=10, hop_length=5)
    waveform = torch.randn(1, 43, generator=torch.Generator().manual_seed(0))
    got = Spectrogram(config)(waveform)[0].numpy()
    # By hand: centred frames of the zero-padded signal, the window padded on both sides to n_fft.
    padded = np.pad(waveform[0].numpy(), 8)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(10) / 10)
    window = np.pad(window, 3)
    for frame in range(got.shape[1]):
        piece = padded[frame * 5 : frame * 5 + 16] * window
        for k in range(9):
            value = sum(piece[n] * np.exp(-2j * np.pi * k * n / 16) for n in range(16))
            assert abs(value - got[k, frame]) < 1e-5


def test_tone_lies_in_its_bin() -> None:
    time = torch.arange(16000) / 16000
    magnitude = Spectrogram()(torch.sin(2 * torch.pi * 1000 * time)[None]).abs().mean(2)[0]
    assert Spectrogram().frequencies()[magnitude.argmax()] == 1000


@pytest.mark.parametrize("settings", [{"hop_length": 200}, {"window": "hann"}, {"win_length": 1025}])
def test_hop_that_leaves_gaps_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="hop_length"):
        SpectrogramConfig(**settings)


@pytest.mark.parametrize("samples", [1030, 1280, 3199])
def test_equals_librosa_with_a_mirror_at_the_ends(samples: int) -> None:
    waveform = torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
    theirs = librosa.stft(waveform[0].numpy(), n_fft=1024, hop_length=320, window="hann", pad_mode="reflect")
    assert np.abs(Spectrogram(HANN)(waveform)[0].numpy() - theirs).max() < 1e-4


@pytest.mark.parametrize("hop", [460, 461])
def test_the_longest_hop_of_a_hann_window(hop: int) -> None:
    settings = {"n_fft": 1024, "win_length": 1024, "hop_length": hop, "window": "hann"}
    if hop > 460:
        with pytest.raises(ValidationError, match=r"0\.45"):
            SpectrogramConfig(**settings)
        return
    spectrogram = Spectrogram(SpectrogramConfig(**settings))
    for samples in (hop * 9 - 1, hop * 9, hop * 9 + 1):
        waveform = torch.rand(1, samples, generator=torch.Generator().manual_seed(0)) * 2 - 1
        assert (spectrogram.inverse(spectrogram(waveform), samples) - waveform).abs().max() < 1e-5
