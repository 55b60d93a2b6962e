"""Mel filterbanks: the L-MAC recipe's, and librosa's two."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MelScale = Literal["recipe", "htk", "slaney"]

# Slaney's scale: linear below 1 kHz, logarithmic above with 27 steps for a factor of 6.4.
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_KNEE_HZ = 1000.0
_SLANEY_LOG_STEP = float(torch.log(torch.tensor(6.4, dtype=torch.float64))) / 27


def hz_to_mel(frequency: Tensor, scale: MelScale = "htk") -> Tensor:
    """Convert frequencies in Hz to mels on O'Shaughnessy's ("htk", "recipe") or Slaney's scale.

    >>> hz_to_mel(torch.tensor([0.0, 1000.0]), "slaney").tolist()
    [0.0, 15.0]
    """
    if scale != "slaney":
        return 2595.0 * torch.log10(1 + frequency / 700.0)
    knee = _SLANEY_KNEE_HZ / _SLANEY_HZ_PER_MEL
    log_part = knee + torch.log(frequency.clamp_min(_SLANEY_KNEE_HZ) / _SLANEY_KNEE_HZ) / _SLANEY_LOG_STEP
    return torch.where(frequency < _SLANEY_KNEE_HZ, frequency / _SLANEY_HZ_PER_MEL, log_part)


def mel_to_hz(mel: Tensor, scale: MelScale = "htk") -> Tensor:
    """Convert mels to frequencies in Hz; the inverse of `hz_to_mel`.

    >>> mel_to_hz(torch.tensor([0.0, 15.0]), "slaney").tolist()
    [0.0, 1000.0]
    """
    if scale != "slaney":
        return 700.0 * (10 ** (mel / 2595.0) - 1)
    knee = _SLANEY_KNEE_HZ / _SLANEY_HZ_PER_MEL
    log_part = _SLANEY_KNEE_HZ * torch.exp(_SLANEY_LOG_STEP * (mel - knee).clamp_min(0))
    return torch.where(mel < knee, mel * _SLANEY_HZ_PER_MEL, log_part)


def mel_centres(n_mels: int, f_min: float, f_max: float, scale: MelScale = "htk") -> Tensor:
    """Return the ``n_mels + 2`` edges and centres of a bank in Hz, equally spaced in mel, as float64.

    >>> [round(f) for f in mel_centres(2, 0, 8000).tolist()]
    [0, 921, 3056, 8000]
    """
    limits = hz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64), scale)
    mels = torch.linspace(float(limits[0]), float(limits[1]), n_mels + 2, dtype=torch.float64)
    return mel_to_hz(mels, scale)


def mel_position(
    frequency: Tensor, n_mels: int, f_min: float, f_max: float, scale: MelScale = "htk"
) -> Tensor:
    """Return where frequencies in Hz lie among the centres of a bank's bands: 2.5 is between 2 and 3.

    >>> mel_position(mel_centres(3, 0, 8000), 3, 0, 8000).round(decimals=6).abs().tolist()
    [1.0, 0.0, 1.0, 2.0, 3.0]
    """
    centres = hz_to_mel(mel_centres(n_mels, f_min, f_max, scale)[1:-1], scale)
    step = hz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64), scale).diff() / (n_mels + 1)
    return (hz_to_mel(frequency.double(), scale) - centres[0]) / step


def mel_filterbank(
    sample_rate: int,
    n_fft: int,
    n_mels: int = 80,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: MelScale = "recipe",
) -> Tensor:
    """Return the triangles that turn linear bins into mel bands, (n_mels, n_fft // 2 + 1), float32.

    Args:
        sample_rate: in Hz.
        n_fft: length of the transform in samples.
        n_mels: number of bands.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz; half the sample rate if not given.
        scale: "recipe" has HTK mels and triangles symmetric in Hz, both sides as wide as the gap to
            the left neighbour (SpeechBrain's); "htk" and "slaney" are librosa's, "slaney" with its
            area normalisation.

    >>> bank = mel_filterbank(16000, 1024)
    >>> tuple(bank.shape), bool(bank.max() <= 1)
    ((80, 513), True)
    """
    centres = mel_centres(n_mels, f_min, sample_rate / 2 if f_max is None else f_max, scale)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    left = centres[1:-1] - centres[:-2]
    right = left if scale == "recipe" else centres[2:] - centres[1:-1]
    offset = bins[None] - centres[1:-1, None]
    bank = torch.minimum(1 + offset / left[:, None], 1 - offset / right[:, None]).clamp_min(0)
    if scale == "slaney":
        bank = bank * (2.0 / (centres[2:] - centres[:-2]))[:, None]
    return bank.float()
