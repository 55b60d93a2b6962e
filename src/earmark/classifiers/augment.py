"""Random changes of training sounds that leave their class alone.

What changes waveforms draws from the generator it is given; what changes spectra, inside the training step,
from torch's own, which the training loop seeds for each epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.data.mixtures import mix
from earmark.data.noise import random_noise
from earmark.training.processes import drawn


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw from [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def time_shift(waveform: Tensor, generator: torch.Generator) -> Tensor:
    """Roll each of (batch, samples) around by its own random number of samples."""
    samples = waveform.shape[1]
    starts = torch.randint(samples, (len(waveform), 1), generator=generator)
    return waveform.gather(1, (torch.arange(samples)[None] - starts) % samples)


def random_gain(waveform: Tensor, lowest_db: float, generator: torch.Generator) -> Tensor:
    """Lower each of (batch, samples) by its own 0 … ``-lowest_db`` dB."""
    return waveform * 10 ** (uniform((len(waveform), 1), lowest_db, 0, generator) / 20)


def add_noise(
    waveform: Tensor,
    noises: Sequence[Tensor],
    snr_db: tuple[float, float],
    probability: float,
    generator: torch.Generator,
) -> Tensor:
    """Mix recorded noise into a share of (batch, samples), at a signal-to-noise ratio drawn per clip."""
    noise = random_noise(noises, len(waveform), waveform.shape[1], generator)
    noisy, _ = mix(waveform, noise, uniform((len(waveform),), *snr_db, generator))
    chosen = torch.rand((len(waveform), 1), generator=generator) < probability
    return torch.where(chosen, noisy, waveform)


def mixup(
    waveform: Tensor, labels: Tensor, spread_db: float, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a share of the clips with others, and their labels by the amplitudes' share.

    Args:
        waveform: (batch, samples).
        labels: (batch, classes), rows sum to one.
        spread_db: the ratio of the two is drawn from ± this many dB.
        probability: the share of clips that are mixed.
        generator: where all chance comes from.

    Source: between-class learning, Tokozume et al., 2018.
    """
    partner = torch.randperm(len(waveform), generator=generator)
    snr_db = uniform((len(waveform),), -spread_db, spread_db, generator)
    mixture, _ = mix(waveform, waveform[partner], snr_db)
    share = torch.sigmoid(snr_db * (torch.log(torch.tensor(10.0)) / 20))[:, None]
    mixed_labels = share * labels + (1 - share) * labels[partner]
    chosen = torch.rand((len(waveform), 1), generator=generator) < probability
    return torch.where(chosen, mixture, waveform), torch.where(chosen, mixed_labels, labels)


def random_filter(stft: Tensor, spread_db: float, points: int = 6) -> Tensor:
    """Colour each complex (batch, bins, frames) as another microphone or room would.

    The gain is drawn from ± ``spread_db`` at ``points`` frequencies and runs straight between them.

    Source: Nam et al., FilterAugment, 2022.
    """
    if not spread_db:
        return stft
    draw = drawn(len(stft), lambda rows: torch.rand((rows, 1, points), device=stft.device))
    gains = spread_db * (2 * draw - 1)
    curve = F.interpolate(gains, stft.shape[1], mode="linear", align_corners=True)
    return stft * (10 ** (curve / 20)).transpose(1, 2)


def spec_augment(features: Tensor, bands: int, widest_band: int, widest_gap: int) -> Tensor:
    """Silence ``bands`` random mel bands and as many gaps in time in each of (batch, mels, frames).

    Source: Park et al., SpecAugment, 2019.
    """
    rows, mels, frames = features.shape
    keep = torch.ones(features.shape)
    for _ in range(bands):
        keep *= 1 - drawn(rows, lambda count: _stripe(count, mels, widest_band))[:, :, None]
        keep *= 1 - drawn(rows, lambda count: _stripe(count, frames, widest_gap))[:, None, :]
    return features * keep.to(features.device)


def _stripe(batch: int, length: int, widest: int) -> Tensor:
    width = torch.randint(widest + 1, (batch, 1))
    start = (torch.rand((batch, 1)) * (length - width + 1).clamp_min(1)).long()
    position = torch.arange(length)[None]
    return ((position >= start) & (position < start + width)).float()
