"""Cues that are planted in sounds: what is added, and where it then is on the STFT."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from earmark.data.mixtures import mix
from earmark.features.spectrogram import Spectrogram


class Planted(NamedTuple):
    """Sounds with a cue and without, which differ in nothing else: (batch, samples) each.

    Args:
        present: with the cue.
        absent: without.
        cue: the difference, at the level it has in ``present``.
    """

    present: Tensor
    absent: Tensor
    cue: Tensor


class Cue(ABC):
    """Something to hear that has nothing to do with what else is in a sound.

    Args:
        snr_db: the sound's level over that of the cue, over the whole clip.
        place: in Hz or seconds, see each cue.

    Attributes:
        name: what it is called.
    """

    name: ClassVar[str]

    def __init__(self, snr_db: float, place: float) -> None:
        self.snr_db = snr_db
        self.place = place

    def add(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Planted:
        """Plant it.

        Args:
            waveform: (batch, samples).
            sample_rate: in Hz.
            generator: where all chance comes from.

        Returns:
            what is to be told apart; where a sound is silent nothing is added.
        """
        base = self.base(waveform, sample_rate)
        present, cue = mix(base, self.make(waveform, sample_rate, generator), self.snr_db)
        return Planted(present, base, cue)

    def base(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Return the sounds that the cue is added to, by default as they are."""
        return waveform

    @abstractmethod
    def make(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Tensor:
        """Return the cue for each sound at any level, (batch, samples)."""


class Tone(Cue):
    """A short tone of a known frequency (``place``, Hz) at a random time."""

    name = "tone"
    seconds = 0.5
    fade = 0.01

    def make(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Tensor:
        """See `Cue.make`."""
        batch, samples = waveform.shape
        length = min(self.seconds * sample_rate, samples / 2)
        start = torch.rand((batch, 1), generator=generator) * (samples - length)
        time = torch.arange(samples) - start
        inside = torch.minimum(time, length - time) / (self.fade * sample_rate)
        phase = 2 * math.pi * torch.rand((batch, 1), generator=generator)
        tone = torch.sin(2 * math.pi * self.place / sample_rate * time + phase)
        return (inside.clamp(0, 1) * tone).to(waveform)


class Hum(Cue):
    """The mains hum: harmonics of ``place`` Hz all along, each quieter by its number's square root."""

    name = "hum"
    harmonics = 8

    def make(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Tensor:
        """See `Cue.make`."""
        numbers = torch.arange(1, self.harmonics + 1).float()
        numbers = numbers[numbers * self.place < sample_rate / 2]
        angle = 2 * math.pi * self.place / sample_rate * torch.arange(waveform.shape[1])
        phases = 2 * math.pi * torch.rand((len(waveform), len(numbers), 1), generator=generator)
        waves = torch.sin(numbers[None, :, None] * angle + phases)
        return (waves / numbers.sqrt()[None, :, None]).sum(1).to(waveform)


class BandEdge(Cue):
    """What lies above an edge (``place``, Hz): sounds without it are low-passed there, as a codec does.

    The evidence for "without" is an absence, which no mask can keep; so only the sounds that have what is
    above the edge can be scored. It is brought to a level, as some sounds have next to nothing there.
    """

    name = "band edge"

    def base(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Return what is below the edge."""
        return low_pass(waveform, self.place / sample_rate)

    def make(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Tensor:
        """See `Cue.make`."""
        return waveform - low_pass(waveform, self.place / sample_rate)


class Click(Cue):
    """A click of some milliseconds that begins at ``place`` seconds."""

    name = "click"
    seconds = 0.004

    def make(self, waveform: Tensor, sample_rate: int, generator: Generator) -> Tensor:
        """See `Cue.make`."""
        length, start = max(2, round(self.seconds * sample_rate)), round(self.place * sample_rate)
        noise = torch.randn((len(waveform), length), generator=generator)
        click = noise * torch.exp(-3 * torch.arange(length) / length)
        after = waveform.shape[1] - length - start
        return F.pad(click, (start, after)).to(waveform)


KINDS: dict[str, type[Cue]] = {kind.name: kind for kind in (Tone, Hum, BandEdge, Click)}


def low_pass(waveform: Tensor, edge: float) -> Tensor:
    """Return what lies below an edge, with nothing left above it.

    Args:
        waveform: (batch, samples).
        edge: as a share of the sample rate, below 0.5.

    >>> low_pass(torch.tensor([[1.0, -1.0, 1.0, -1.0]]), 0.25)
    tensor([[0., 0., 0., 0.]])
    """
    spectrum = torch.fft.rfft(waveform)
    frequency = torch.linspace(0, 0.5, spectrum.shape[1], device=waveform.device)
    # A brick wall rings; half a per cent of the sample rate to fall in keeps that short.
    gain = ((edge - frequency) / 0.005 + 1).clamp(0, 1)
    return torch.fft.irfft(spectrum * gain, waveform.shape[1])


def region(spectrogram: Spectrogram, cue: Tensor, range_db: float = 12.0) -> Tensor:
    """Return where a cue is: its bins that are at most so far below its loudest one.

    Args:
        spectrogram: the STFT.
        cue: (batch, samples), the cue alone.
        range_db: how far below.

    Returns:
        (batch, bins, frames) of 0 and 1; all 0 where there is no cue.
    """
    power = spectrogram(cue).abs().square()
    loudest = power.amax(dim=(1, 2), keepdim=True)
    return ((power >= loudest * 10 ** (-range_db / 10)) & (loudest > 0)).to(cue.dtype)


def widened(where: Tensor, bins: int, frames: int) -> Tensor:
    """Return a region and what is at most so many bins and frames away from it.

    >>> widened(torch.tensor([[[0.0, 0.0, 1.0]]]), bins=0, frames=1)
    tensor([[[0., 1., 1.]]])
    """
    size = (2 * bins + 1, 2 * frames + 1)
    return F.max_pool2d(where[:, None], size, stride=1, padding=(bins, frames))[:, 0]
