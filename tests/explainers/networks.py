"""Small networks that every explainer must take: mel bands, raw waveforms, and one with a known answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.features.spectrogram import Spectrogram, SpectrogramConfig

RATE = 4000
CONFIG = SpectrogramConfig(sample_rate=RATE, n_fft=128, win_length=128, hop_length=64)


def cnn14() -> AudioClassifier:
    """Make a CNN14 with seeded random weights."""
    torch.manual_seed(0)
    return Cnn14(
        Cnn14Config(labels=("a", "b", "c"), width=1 / 16, n_mels=32, seconds=0.5, spectrogram=CONFIG)
    )


class Raw(AudioClassifier):
    """Eats waveforms, as wav2vec-like networks do."""

    def __init__(self) -> None:
        super().__init__(Spectrogram(CONFIG), ("a", "b", "c"), seconds=0.5)
        torch.manual_seed(0)
        self.first = nn.Conv1d(1, 8, 16, 8)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv1d(8, 8, 4, 4)
        self.second_relu = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def features(self, stft: Tensor) -> Tensor:
        return self.spectrogram.inverse(stft, (stft.shape[-1] - 1) * CONFIG.hop_length)[:, None]

    def bands_to_bins(self) -> Tensor:
        return torch.eye(self.spectrogram.bins)

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        return stft.abs().log1p()

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        first = self.first_relu(self.first(features)).unsqueeze(2)
        second = self.second_relu(self.second(first.squeeze(2))).unsqueeze(2)
        return self.head(second.mean((2, 3))), [first, second]


class Cue(AudioClassifier):
    """Two layers with a known answer: each class is the sound in its own rows, and nothing else."""

    ROWS = ((8, 16), (40, 48))
    hears_phase = False

    def __init__(self) -> None:
        super().__init__(Spectrogram(CONFIG), ("low", "high"), seconds=0.5)
        rows = torch.zeros(2, self.spectrogram.bins)
        for row, (start, stop) in zip(rows, self.ROWS):
            row[start:stop] = 1
        self.rows = nn.Parameter(rows)
        self.relu = nn.ReLU()

    def features(self, stft: Tensor) -> Tensor:
        return stft.abs()

    def bands_to_bins(self) -> Tensor:
        return torch.eye(self.spectrogram.bins)

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.relu(features[:, None] * self.rows[None, :, :, None])
        return maps.mean((2, 3)), [maps]


class Functional(Cue):
    """The same, with a ReLU that no hook can find."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = F.relu(features[:, None] * self.rows[None, :, :, None])
        return maps.mean((2, 3)), [maps]


NETWORKS = {"cnn14": cnn14, "raw": Raw, "cue": Cue}


def noise(clips: int = 3) -> Tensor:
    """Make noises at a peak of 1, (clips, samples)."""
    waveform = torch.randn(clips, RATE // 2, generator=torch.Generator().manual_seed(3))
    return waveform / waveform.abs().amax(1, keepdim=True)
