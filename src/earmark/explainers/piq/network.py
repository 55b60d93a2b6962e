"""From a classifier's deepest representations to codes of a class, and from these to the logits of a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.explainers.base import Domain
from earmark.explainers.piq.quantiser import Quantised, Quantiser

Size = tuple[int, int]


class PiqConfig(BaseModel):
    """What a trained PIQ is, beside its weights.

    Args:
        codes: of each class.
        channels: of the codes.
        maps: how many of the classifier's deepest representations are put into codes.
        patch: a code stands for at least so many bands and frames of the picture.
        decoder: its channels from the codes' resolution to the picture's.
        decay: see `Quantiser`.
        dead: see `Quantiser`.
        description: how it was trained, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    codes: PositiveInt = 32
    channels: PositiveInt = 64
    maps: PositiveInt = 4
    patch: PositiveInt = 8
    decoder: tuple[PositiveInt, ...] = Field((64, 48, 32, 16), min_length=2)
    decay: float = Field(0.95, gt=0, lt=1)
    dead: float = Field(0.05, ge=0, lt=1)
    description: str = ""


class PiqNetwork(nn.Module):
    """All weights of a PIQ: the adapter, the codes and the decoder.

    The class enters by its codes alone, and the decoder sees the sound by the codes alone.

    Args:
        config: its sizes.
        channels: of the classifier's representations, from shallow to deep.
        classes: how many the classifier has.
        rows: (bins, bands), carries logits from the picture's bands to linear bins.
    """

    rows: Tensor

    def __init__(self, config: PiqConfig, channels: Sequence[int], classes: int, rows: Tensor) -> None:
        super().__init__()
        self.patch = config.patch
        self.register_buffer("rows", rows, persistent=False)
        self.adapter = Adapter(channels[-config.maps :], config.channels)
        self.quantiser = Quantiser(classes, config.codes, config.channels, config.decay, config.dead)
        self.decoder = Decoder(config.channels, config.decoder, math.ceil(rows.shape[1] / config.patch))

    def quantise(self, representations: Sequence[Tensor], target: Tensor, picture: Size) -> Quantised:
        """Return what the representations are in codes of the classes.

        Args:
            representations: the feature maps, from shallow to deep, each (batch, channels, height, width).
            target: (batch,), the classes to explain.
            picture: bands and frames of the classifier's picture.
        """
        bands, frames = (math.ceil(length / self.patch) for length in picture)
        return self.quantiser(self.adapter(representations, (bands, frames)), target)

    def draw(self, told: Tensor, picture: Size, size: Size, domain: Domain = "stft") -> Tensor:
        """Return the logits of a mask.

        Args:
            told: (batch, channels, height, width), see `Quantised.maps`.
            picture: bands and frames of the classifier's picture.
            size: rows and frames of what the mask is laid on.
            domain: whether that is the STFT, whose bins look up their bands, or the features.

        Returns:
            (batch, rows, frames).
        """
        logits = self.decoder(told, picture)
        if domain == "stft":
            logits = self.rows @ logits
        # A classifier may cut time into frames of its own.
        return _resized(logits[:, None], size)[:, 0]


class Adapter(nn.Module):
    """Puts feature maps of several sizes together: (batch, channels, height, width) of variance 1.

    Args:
        channels_in: of the maps.
        channels: of what comes out.
    """

    def __init__(self, channels_in: Sequence[int], channels: int) -> None:
        super().__init__()
        self.entries = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.Conv2d(c, channels, 1)) for c in channels_in
        )
        # Without weights the norm keeps the scale, which commitment alone would shrink to nothing.
        self.mix = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels, affine=False)
        )

    def forward(self, representations: Sequence[Tensor], most: Size) -> Tensor:
        """Return the maps at the finest resolution that one of them has, but no finer than ``most``."""
        maps = representations[-len(self.entries) :]
        height, width = (min(most[axis], max(each.shape[2 + axis] for each in maps)) for axis in (0, 1))
        together = [_resized(entry(each), (height, width)) for entry, each in zip(self.entries, maps)]
        return self.mix(torch.stack(together).sum(0))


class Decoder(nn.Module):
    """Draws a mask's logits on the classifier's picture, growing in even steps to its resolution.

    Args:
        channels_in: of what it is told.
        channels: of its steps.
        rows: at how many heights it starts; it knows each, so that maps without a frequency axis can
            speak of bands too.
    """

    def __init__(self, channels_in: int, channels: Sequence[int], rows: int) -> None:
        super().__init__()
        self.places = nn.Parameter(0.3 * torch.randn(1, channels_in, rows, 1))
        self.bottom = nn.Sequential(_convolution(channels_in, channels[0]), _Residual(channels[0]))
        self.steps = nn.ModuleList(_convolution(a, b) for a, b in pairwise(channels))
        self.head = nn.Conv2d(channels[-1], 1, 1)

    def forward(self, told: Tensor, picture: Size) -> Tensor:
        """Return (batch, bands, frames)."""
        maps = self.bottom(_resized(told, (self.places.shape[2], told.shape[3])) + self.places)
        for size, step in zip(growing(maps.shape[2:], picture, len(self.steps)), self.steps):
            maps = step(_resized(maps, size))
        return self.head(maps)[:, 0]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = _convolution(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.inner(maps)


def growing(start: Sequence[int], stop: Sequence[int], steps: int) -> list[Size]:
    """Return the sizes on the way from one to another, each step by about the same factor.

    >>> growing((10, 54), (80, 431), 3)
    [(20, 108), (40, 216), (80, 431)]
    """
    shares = [step / steps for step in range(1, steps + 1)]
    rows, frames = ([round(a * (b / a) ** share) for share in shares] for a, b in zip(start, stop))
    return list(zip(rows, frames))


def _convolution(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _resized(maps: Tensor, size: Size) -> Tensor:
    """Bring the last two axes to a size: means where it is smaller, straight lines where it is larger."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    smaller = min(height, size[0]), min(width, size[1])
    if smaller != (height, width):
        maps = F.adaptive_avg_pool2d(maps, smaller)
    return maps if smaller == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)
