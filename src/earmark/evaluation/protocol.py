"""The conditions explainers are scored in: which sounds, made of which parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from earmark.data.mixtures import mix, pairs_of_other_class
from earmark.data.noise import random_noise
from earmark.features.level import peak_of


@dataclass(frozen=True)
class Sounds:
    """Sounds to explain, as the sum of a source and an interferer at a common peak of 1.

    Args:
        source: (sounds, samples).
        interferer: (sounds, samples).
        labels: (sounds,), the classes of the sources.
        clips: (sounds,), the index of the clip that each source is.
    """

    source: Tensor
    interferer: Tensor
    labels: Tensor
    clips: Tensor

    @property
    def mixture(self) -> Tensor:
        """What is heard, (sounds, samples)."""
        return self.source + self.interferer

    def __len__(self) -> int:
        return len(self.source)

    def part(self, index: Tensor, device: torch.device) -> Sounds:
        """Return some of the sounds, on a device."""
        parts = (self.source, self.interferer, self.labels, self.clips)
        return Sounds(*(values[index].to(device) for values in parts))


def mixtures(
    waveform: Tensor, labels: Tensor, per_clip: int = 2, snr_db: float = 3.0, seed: int = 0
) -> Sounds:
    """Mix each clip with clips of other classes at a signal-to-noise ratio.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        per_clip: how many mixtures a clip is the louder part of.
        snr_db: over the whole clip.
        seed: of the choice of the other clips.

    >>> sounds = mixtures(torch.randn(3, 400), torch.tensor([0, 1, 2]), per_clip=2)
    >>> len(sounds), bool((sounds.mixture.abs().amax(1) - 1).abs().max() < 1e-6)
    (6, True)
    """
    base, other = pairs_of_other_class(labels, per_clip, seed).unbind(1)
    return _sounds(waveform[base], waveform[other], labels[base], base, snr_db)


def in_noise(
    waveform: Tensor, labels: Tensor, noises: Sequence[Tensor], snr_db: float = 0.0, seed: int = 0
) -> Sounds:
    """Mix each clip with a random piece of recorded noise at a signal-to-noise ratio.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        noises: recordings of any length, (samples,) each.
        snr_db: over the whole clip.
        seed: of the choice of the pieces.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = random_noise(noises, len(waveform), waveform.shape[1], generator)
    return _sounds(waveform, noise, labels, torch.arange(len(waveform)), snr_db)


def _sounds(source: Tensor, interferer: Tensor, labels: Tensor, clips: Tensor, snr_db: float) -> Sounds:
    mixture, interferer = mix(source, interferer, snr_db)
    peak = peak_of(mixture)
    return Sounds(source / peak, interferer / peak, labels, clips)
