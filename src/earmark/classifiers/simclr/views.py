"""Two changes of one sound that leave what it is alone: another piece, another level, others behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor
from torch.nn import functional as F

from earmark.classifiers.augment import uniform
from earmark.data.mixtures import mix
from earmark.data.noise import random_noise
from earmark.data.segments import Recordings
from earmark.features.level import peak_normalise
from earmark.training.processes import drawn

_SHIFT = 0.1  # of half the picture


class Views(BaseModel):
    """How two views of a sound differ.

    Args:
        seconds: length of the piece that a view is.
        tries: of so many pieces the loudest is taken, as much of a field recording is next to nothing.
        mixing: share of views with another recording behind them.
        mixing_db: range of the signal-to-interferer ratio.
        noise: share of views with recorded noise, or white noise where there is none.
        noise_db: range of the signal-to-noise ratio.
        gain_db: views are lowered by up to this.
        filter_db: a random filter changes the level of any frequency by up to ± this.
        stretch: the picture is stretched in time and frequency, each by up to this factor either way, less 1.
        bands: how many mel bands and gaps in time SpecAugment silences.
        widest_band: in mel bands.
        widest_gap: in frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(2.5, gt=0)
    tries: int = Field(1, ge=1)
    mixing: float = Field(0.3, ge=0, le=1)
    mixing_db: tuple[float, float] = (3.0, 15.0)
    noise: float = Field(0.5, ge=0, le=1)
    noise_db: tuple[float, float] = (5.0, 25.0)
    gain_db: float = Field(-12.0, le=0)
    filter_db: float = Field(6.0, ge=0)
    stretch: float = Field(0.0, ge=0)
    bands: int = Field(2, ge=0)
    widest_band: int = Field(16, ge=1)
    widest_gap: int = Field(32, ge=1)


def draw_view(
    piece: Tensor, other: Tensor, noises: Sequence[Tensor], views: Views, generator: Generator
) -> Tensor:
    """Return a view of a piece, (samples,).

    Args:
        piece: (samples,).
        other: (samples,), of another recording.
        noises: each (samples,).
        views: how much is changed.
        generator: where all chance comes from.
    """
    sound = piece[None]
    mixing, noisy = (torch.rand(2, generator=generator) < torch.tensor([views.mixing, views.noise])).tolist()
    if mixing:
        sound, _ = mix(sound, other[None], uniform((1,), *views.mixing_db, generator))
    if noisy:
        noise = (
            random_noise(noises, 1, len(piece), generator)
            if len(noises)
            else torch.randn((1, len(piece)), generator=generator)
        )
        sound, _ = mix(sound, noise, uniform((1,), *views.noise_db, generator))
    gain = 10 ** (uniform((1,), views.gain_db, 0, generator) / 20)
    return (peak_normalise(sound) * gain)[0]


def draw_views(
    recordings: Recordings,
    index: Tensor,
    seeds: Tensor,
    noises: Sequence[Tensor],
    views: Views,
    samples: int,
    threads: Executor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return two views of each recording of an index, (batch, samples) each.

    All chance of a recording comes from its own seed, so that it does not matter who draws it, or when.

    Args:
        recordings: what pieces are taken of.
        index: (batch,), which of them.
        seeds: (batch,), of each one's chance.
        noises: to mix in, each (samples,).
        views: how much is changed.
        samples: of a view.
        threads: draw several at once, as files are read and decoded without Python's lock.
    """

    def pair(place: int, seed: int) -> tuple[Tensor, Tensor]:
        return _pair(recordings, place, Generator().manual_seed(seed), noises, views, samples)

    pairs = (threads.map if threads else map)(pair, index.tolist(), seeds.tolist())
    first, second = zip(*pairs)
    return torch.stack(first), torch.stack(second)


def _pair(
    recordings: Recordings,
    place: int,
    generator: Generator,
    noises: Sequence[Tensor],
    views: Views,
    samples: int,
) -> tuple[Tensor, Tensor]:
    found = []
    for _ in range(2):
        tries = [recordings.piece(place, samples, generator) for _ in range(views.tries)]
        piece = max(tries, key=lambda one: float(one.square().sum()))
        partner = int(torch.randint(len(recordings), (1,), generator=generator))
        other = recordings.piece(partner, samples, generator) if partner != place else torch.zeros(samples)
        found.append(draw_view(piece, other, noises, views, generator))
    return found[0], found[1]


def stretched(features: Tensor, most: float) -> Tensor:
    """Stretch each of (batch, bands, frames) in both directions, about its middle, and shift it a little.

    Source: random resize crop, Niizumi et al., BYOL for Audio, 2021.

    Args:
        features: the pictures.
        most: factors are drawn from 1 / (1 + most) to 1 + most.
    """
    if not most:
        return features
    draw = drawn(len(features), lambda rows: torch.rand((rows, 4), device=features.device))
    scale = torch.exp((2 * draw[:, :2] - 1) * math.log1p(most))
    shift = (2 * draw[:, 2:] - 1) * _SHIFT
    turn = torch.zeros((len(features), 2, 3), device=features.device)
    turn[:, 0, 0], turn[:, 1, 1], turn[:, :, 2] = scale[:, 0], scale[:, 1], shift
    grid = F.affine_grid(turn, [len(features), 1, *features.shape[1:]], align_corners=False)
    return F.grid_sample(features[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
