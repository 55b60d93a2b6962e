"""Two changes of one sound that leave what it is alone: another piece, another level, others behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from earmark.classifiers.augment import uniform
from earmark.data.mixtures import mix
from earmark.data.noise import random_noise
from earmark.data.segments import Recordings
from earmark.features.level import peak_normalise


class Views(BaseModel):
    """How two views of a sound differ.

    Args:
        seconds: length of the piece that a view is.
        mixing: share of views with another recording behind them.
        mixing_db: range of the signal-to-interferer ratio.
        noise: share of views with recorded noise, or white noise where there is none.
        noise_db: range of the signal-to-noise ratio.
        gain_db: views are lowered by up to this.
        filter_db: a random filter changes the level of any frequency by up to ± this.
        bands: how many mel bands and gaps in time SpecAugment silences.
        widest_band: in mel bands.
        widest_gap: in frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(2.5, gt=0)
    mixing: float = Field(0.3, ge=0, le=1)
    mixing_db: tuple[float, float] = (3.0, 15.0)
    noise: float = Field(0.5, ge=0, le=1)
    noise_db: tuple[float, float] = (5.0, 25.0)
    gain_db: float = Field(-12.0, le=0)
    filter_db: float = Field(6.0, ge=0)
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
) -> tuple[Tensor, Tensor]:
    """Return two views of each recording of an index, (batch, samples) each.

    All chance of a recording comes from its own seed, so that it does not matter who draws it, or when.
    """
    pairs = [
        _pair(recordings, place, Generator().manual_seed(seed), noises, views, samples)
        for place, seed in zip(index.tolist(), seeds.tolist())
    ]
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
        piece = recordings.piece(place, samples, generator)
        partner = int(torch.randint(len(recordings), (1,), generator=generator))
        other = recordings.piece(partner, samples, generator) if partner != place else torch.zeros(samples)
        found.append(draw_view(piece, other, noises, views, generator))
    return found[0], found[1]
