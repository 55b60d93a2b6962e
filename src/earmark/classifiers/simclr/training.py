"""Pre-train a CNN14 on sounds without labels."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from earmark.classifiers.augment import random_filter, spec_augment
from earmark.classifiers.cnn14 import Cnn14
from earmark.classifiers.simclr.objective import nt_xent
from earmark.classifiers.simclr.views import Views, draw_view, draw_views, stretched
from earmark.data.segments import Recordings
from earmark.data.shards import Shards
from earmark.features.mel import MelScale
from earmark.features.spectrogram import SpectrogramConfig
from earmark.training import processes
from earmark.training.loop import Job, LoopSettings, Row, fit, in_batches

_MOST_THREADS = 8  # that draw views


class SimclrRecipe(BaseModel):
    """Settings of ``earmark train simclr``.

    Args:
        train_folds: folds to learn from, where the data has folds; their labels are not looked at.
        width: CNN14's factor on its channels.
        n_mels: number of mel bands.
        mel_scale: which triangles, see `earmark.features.mel.mel_filterbank`.
        spectrogram: sample rate and settings of the STFT.
        dropout: probability between CNN14's blocks.
        views: how the two views of a sound differ.
        projection: channels of the projection head, which is thrown away afterwards.
        temperature: of the objective.
        steps: batches an epoch, where sounds are streamed from shards.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train_folds: tuple[int, ...] = (1, 2, 3)
    width: float = Field(1.0, gt=0)
    n_mels: PositiveInt = 80
    mel_scale: MelScale = "recipe"
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    dropout: float = Field(0.0, ge=0, lt=1)
    views: Views = Views()
    projection: PositiveInt = 128
    temperature: PositiveFloat = 0.2
    steps: PositiveInt = 1000
    loop: LoopSettings = LoopSettings(epochs=100, batch_size=64, learning_rate=1e-3)


class SimclrStep(nn.Module):
    """One step: two views of each sound → NT-Xent of their projections.

    Args:
        network: what learns; its head is not used.
        recipe: the settings.
    """

    def __init__(self, network: Cnn14, recipe: SimclrRecipe) -> None:
        super().__init__()
        network.head.requires_grad_(False)
        channels = network.head.in_features
        self.network, self.views, self.temperature = network, recipe.views, recipe.temperature
        self.head = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, recipe.projection)
        )

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Compute the loss of two views of each sound, (batch, samples) each."""
        # Both at once, so that they are normalised alike.
        features = self._features(torch.cat([first, second]))
        one, other = self.head(self.network.embed(features)).chunk(2)
        loss, right = nt_xent(one, other, self.temperature)
        return {"loss": loss, "right": right}

    def _features(self, view: Tensor) -> Tensor:
        views = self.views
        stft = random_filter(self.network.spectrogram(view), views.filter_db)
        features = stretched(self.network.features(stft), views.stretch)
        return spec_augment(features, views.bands, views.widest_band, views.widest_gap)


def train_simclr(
    network: Cnn14,
    recordings: Recordings | Shards,
    noises: Sequence[Tensor],
    recipe: SimclrRecipe,
    folder: Path,
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Train a network in place, and leave the weights of the last epoch in it.

    Args:
        network: a CNN14, freshly made; its head stays as it is.
        recordings: what to learn from; of shards each process reads its own.
        noises: to mix in, each (samples,).
        recipe: the settings.
        folder: gets the log and the checkpoints; training goes on from there if it was stopped.
        report: see `earmark.training.loop.fit`.

    Returns:
        one row of figures per epoch.
    """
    samples = round(recipe.views.seconds * network.spectrogram.sample_rate)
    step = SimclrStep(network, recipe)
    threads = ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1))
    streamed = isinstance(recordings, Shards)
    if isinstance(recordings, Shards):
        shards = recordings
        steps = recipe.steps

        def batches(epoch: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
            return _streamed(shards, noises, recipe, generator)

        prepare = None
    else:
        sounds = recordings
        steps = math.ceil(len(sounds) / recipe.loop.batch_size)

        def batches(epoch: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
            order = torch.randperm(len(sounds), generator=generator)
            for index in in_batches(order, recipe.loop.batch_size):
                yield index, torch.randint(2**62, (len(index),), generator=generator)

        def prepare(index: Tensor, seeds: Tensor) -> tuple[Tensor, ...]:
            return draw_views(sounds, index, seeds, noises, recipe.views, samples, threads)

    job = Job(
        step=step,
        batches=batches,
        validate=dict,
        criterion=lambda row: row["epoch"],  # nothing is held out: the last epoch is kept
        steps_per_epoch=steps,
        prepare=prepare,
        streamed=streamed,
    )
    with threads:
        return fit(job, recipe.loop, folder, report)


def _streamed(
    shards: Shards, noises: Sequence[Tensor], recipe: SimclrRecipe, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this process's batches of an epoch, as many as all others do; shards are gone through again."""
    own_seed = int(torch.randint(2**62, (1,), generator=generator)) + processes.rank()
    chance = Generator().manual_seed(own_seed)
    size = max(1, recipe.loop.batch_size // processes.count())
    held: list[tuple[Tensor, Tensor]] = []
    done, before = 0, torch.zeros(shards.samples)
    while done < recipe.steps:
        paths = shards.share(generator, processes.rank(), processes.count())
        for piece in shards.pieces(paths, chance):
            first, second = (draw_view(piece, before, noises, recipe.views, chance) for _ in range(2))
            held.append((first, second))
            before = piece
            if len(held) == size:
                yield torch.stack([one for one, _ in held]), torch.stack([two for _, two in held])
                held, done = [], done + 1
                if done == recipe.steps:
                    return
