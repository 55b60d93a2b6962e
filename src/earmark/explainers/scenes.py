"""What trained explainers learn from: clips alone, in noise, and mixed with one of another class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn

from earmark.classifiers.augment import random_gain, time_shift, uniform
from earmark.classifiers.training import Clips
from earmark.data.mixtures import mix
from earmark.data.noise import random_noise
from earmark.features.level import peak_of
from earmark.training.loop import Job, Row, in_batches


class Scenes(BaseModel):
    """What the training sounds are.

    Args:
        clean: share of clips left alone.
        noise: share of clips with recorded noise, if there is any; the rest are mixtures with a clip of
            another class.
        hiss: share of the clips with noise that get white noise in place of recorded noise.
        mixture_db: range of the signal-to-interferer ratio of the mixtures.
        noise_db: range of the signal-to-noise ratio.
        gain_db: clips are lowered by up to this, from a peak of 1 or their own level.
        other_class: share of mixtures for which the interferer's class is explained, whatever was decided.
        passes: how often an epoch goes through the clips.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clean: float = Field(0.1, ge=0, le=1)
    noise: float = Field(0.25, ge=0, le=1)
    hiss: float = Field(0.0, ge=0, le=1)
    mixture_db: tuple[float, float] = (0.0, 8.0)
    noise_db: tuple[float, float] = (-3.0, 10.0)
    gain_db: float = Field(-6.0, le=0)
    other_class: float = Field(0.2, ge=0, le=1)
    passes: PositiveInt = 2

    @model_validator(mode="after")
    def _shares_and_ranges(self) -> Scenes:
        if self.clean + self.noise > 1:
            raise ValueError("clean and noise are shares of the clips: together at most 1")
        if self.mixture_db[0] > self.mixture_db[1] or self.noise_db[0] > self.noise_db[1]:
            raise ValueError("mixture_db and noise_db must rise")
        return self


class SceneBatch(NamedTuple):
    """Sounds with known parts.

    Args:
        source: (batch, samples).
        interferer: (batch, samples), zero where there is none.
        labels: (batch, 2), the classes of source and interferer, -1 for what has none.
        asked: (batch,), the classes to explain, -1 for what the classifier decides.
    """

    source: Tensor
    interferer: Tensor
    labels: Tensor
    asked: Tensor


def epoch_length(clips: Clips, scenes: Scenes, batch_size: int) -> int:
    """Return how many batches `draw_scenes` yields."""
    return scenes.passes * math.ceil(len(clips.waveform) / batch_size)


def draw_scenes(
    clips: Clips, scenes: Scenes, batch_size: int, generator: torch.Generator
) -> Iterator[SceneBatch]:
    """Yield the batches of an epoch."""
    for _ in range(scenes.passes):
        order = torch.randperm(len(clips.waveform), generator=generator)
        for index in in_batches(order, batch_size):
            yield draw_scene(clips, index, scenes, generator)


def scene_job(
    step: nn.Module,
    clips: Clips,
    scenes: Scenes,
    batch_size: int,
    validate: Callable[[], Row],
    criterion: Callable[[Row], float],
) -> Job:
    """Return a training on scenes for `earmark.training.loop.fit`; the step takes a `SceneBatch`'s parts.

    Args:
        step: maps a batch to its losses.
        clips: what the scenes are made of.
        scenes: what they are.
        batch_size: clips a step.
        validate: returns the scores of an epoch.
        criterion: these scores → the figure whose highest epoch is kept.
    """
    return Job(
        step=step,
        batches=lambda epoch, generator: draw_scenes(clips, scenes, batch_size, generator),
        validate=validate,
        criterion=criterion,
        steps_per_epoch=epoch_length(clips, scenes, batch_size),
    )


def draw_scene(clips: Clips, index: Tensor, scenes: Scenes, generator: torch.Generator) -> SceneBatch:
    """Return a batch of the clips of an index, (batch,), each alone or with what is drawn for it."""
    count = len(index)
    partner = other_class(clips.labels, index, generator)
    source = time_shift(clips.waveform[index], generator)
    interferer = time_shift(clips.waveform[partner], generator)
    _, interferer = mix(source, interferer, uniform((count,), *scenes.mixture_db, generator))
    labels = torch.stack([clips.labels[index], clips.labels[partner]], dim=1)
    draw = torch.rand(count, generator=generator)
    alone, noisy = draw < scenes.clean, draw > 1 - scenes.noise
    if len(clips.noises):
        noise = random_noise(clips.noises, count, source.shape[1], generator)
        _, noise = mix(
            source,
            _with_hiss(noise, scenes.hiss, generator),
            uniform((count,), *scenes.noise_db, generator),
        )
        interferer = torch.where(noisy[:, None], noise, interferer)
    else:
        noisy = torch.zeros_like(noisy)
    interferer = torch.where(alone[:, None], 0, interferer)
    labels[:, 1] = torch.where(alone | noisy, -1, labels[:, 1])
    other = (torch.rand(count, generator=generator) < scenes.other_class) & (labels[:, 1] >= 0)
    asked = torch.where(other, labels[:, 1], -1)
    source, interferer = _levelled(source, interferer, clips.own_level, scenes.gain_db, generator)
    return SceneBatch(source, interferer, labels, asked)


def _with_hiss(noise: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Put white noise in place of a share of (batch, samples)."""
    if not share:
        return noise
    chosen = torch.rand((len(noise), 1), generator=generator) < share
    return torch.where(chosen, torch.randn(noise.shape, generator=generator), noise)


def other_class(labels: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each clip of ``index`` another one whose class differs, (batch,)."""
    differs = (labels[None] != labels[index][:, None]).float()
    return torch.multinomial(differs, 1, generator=generator).squeeze(1)


def _levelled(
    source: Tensor, interferer: Tensor, own_level: bool, lowest_db: float, generator: torch.Generator
) -> Sequence[Tensor]:
    peak = peak_of(source + interferer)
    gain = random_gain(torch.ones_like(peak) if own_level else 1 / peak, lowest_db, generator)
    return source * gain, interferer * gain
