"""Whisper's log-mel spectrogram against librosa's mel spectrogram of the whole padded sound."""

import librosa
import numpy as np
import pytest
import torch

from earmark.features.whisper import WhisperLogMel

LONGEST = 32000


def naive(x: np.ndarray) -> np.ndarray:
    padded = np.concatenate([x, np.zeros(LONGEST)])[:LONGEST].astype(np.float64)
    power = np.abs(librosa.stft(padded, n_fft=400, hop_length=160, pad_mode="reflect")[:, :-1]) ** 2
    bank = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80, fmax=8000)
    decades = np.log10(np.maximum(bank @ power, 1e-10))
    return (np.maximum(decades, decades.max() - 8) + 4) / 4


@pytest.mark.parametrize("samples", [1, 201, 4000, 31900, LONGEST, LONGEST + 5000])
@pytest.mark.parametrize("level", [0.0, 1e-4, 1.0])
def test_equals_the_definition_and_silence_follows(samples: int, level: float) -> None:
    x = (level * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    log_mel = WhisperLogMel(16000, 400, 160, 80, LONGEST)
    waveform = torch.from_numpy(x)[None]
    ours, expected = log_mel(waveform), naive(x)
    frames = ours.shape[-1]
    assert frames <= min(samples // 160 + 3, 200)
    assert np.abs(ours[0].numpy() - expected[:, :frames]).max() < 1e-4
    rest = expected[:, frames:]
    assert np.abs(log_mel.silence(ours)[0].numpy() - rest).max(initial=0) < 1e-4
