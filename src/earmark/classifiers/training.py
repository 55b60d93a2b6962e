"""Train a classifier on labelled clips: mixup, noise, shift, gain, SpecAugment; best epoch by validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.augment import add_noise, mixup, random_filter, random_gain, spec_augment, time_shift
from earmark.classifiers.base import AudioClassifier
from earmark.features.level import peak_normalise
from earmark.features.mel import MelScale
from earmark.features.spectrogram import SpectrogramConfig
from earmark.training.loop import Job, LoopSettings, Row, fit, in_batches
from earmark.training.processes import over_shares


class Augmentation(BaseModel):
    """How much the training sounds are changed.

    Args:
        mixup: share of clips mixed with another one.
        mixup_db: the ratio of the two is drawn from ± this many dB.
        noise: share of clips with recorded noise, if there is any.
        noise_db: range of the signal-to-noise ratio.
        gain_db: clips are lowered by up to this.
        filter_db: a random filter changes the level of any frequency by up to ± this.
        bands: how many mel bands and gaps in time SpecAugment silences.
        widest_band: in mel bands.
        widest_gap: in frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mixup: float = Field(0.6, ge=0, le=1)
    mixup_db: float = Field(12.0, ge=0)
    noise: float = Field(0.5, ge=0, le=1)
    noise_db: tuple[float, float] = (-3.0, 20.0)
    gain_db: float = Field(-12.0, le=0)
    filter_db: float = Field(0.0, ge=0)
    bands: NonNegativeInt = 2
    widest_band: PositiveInt = 16
    widest_gap: PositiveInt = 64


class ClassifierRecipe(BaseModel):
    """Settings of ``earmark train classifier``.

    Args:
        labels: classes to train on; all that the data has, if not given.
        train_folds: folds to train on.
        validate_folds: folds that choose the best epoch.
        width: CNN14's factor on its channels.
        n_mels: number of mel bands.
        mel_scale: which triangles, see `earmark.features.mel.mel_filterbank`.
        spectrogram: sample rate and settings of the STFT.
        dropout: probability between CNN14's blocks.
        seconds: length of a training clip.
        clips_per_class: learn from so many clips of each class alone; all, if not given.
        augmentation: how the sounds are changed.
        loop: epochs, rates, seed, device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...] | None = None
    train_folds: tuple[int, ...] = (1, 2, 3)
    validate_folds: tuple[int, ...] = (4,)
    width: float = Field(1.0, gt=0)
    n_mels: PositiveInt = 80
    mel_scale: MelScale = "recipe"
    spectrogram: SpectrogramConfig = SpectrogramConfig()
    dropout: float = Field(0.2, ge=0, lt=1)
    seconds: float = Field(5.0, gt=0)
    clips_per_class: PositiveInt | None = None
    augmentation: Augmentation = Augmentation()
    loop: LoopSettings = LoopSettings(epochs=60, batch_size=16, learning_rate=1e-3)


@dataclass(frozen=True)
class Clips:
    """Sounds in memory.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        noises: to mix in, each (samples,).
        own_level: whether the clips are at their own level, as some classifiers hear them, or at a peak of 1.
    """

    waveform: Tensor
    labels: Tensor
    noises: Sequence[Tensor] = ()
    own_level: bool = False


def few_of_each(clips: Clips, most: int | None, seed: int) -> Clips:
    """Return at most so many clips of each class, drawn by a seed; all, if ``most`` is None.

    >>> found = few_of_each(Clips(torch.zeros(5, 1), torch.tensor([0, 0, 0, 1, 1])), 2, seed=0)
    >>> found.labels.tolist()
    [0, 0, 1, 1]
    """
    if most is None:
        return clips
    order = torch.randperm(len(clips.labels), generator=torch.Generator().manual_seed(seed))
    chosen = [order[clips.labels[order] == label][:most] for label in clips.labels.unique()]
    index = torch.cat(chosen).sort().values
    return replace(clips, waveform=clips.waveform[index], labels=clips.labels[index])


class _Step(nn.Module):
    def __init__(self, classifier: AudioClassifier, augmentation: Augmentation) -> None:
        super().__init__()
        self.classifier = classifier
        self.augmentation = augmentation

    def forward(self, waveform: Tensor, labels: Tensor) -> dict[str, Tensor]:
        classifier, augmentation = self.classifier, self.augmentation
        stft = random_filter(classifier.spectrogram(waveform), augmentation.filter_db)
        features = spec_augment(
            classifier.features(stft), augmentation.bands, augmentation.widest_band, augmentation.widest_gap
        )
        return {"loss": F.cross_entropy(classifier.logits(features), labels)}


def train_classifier(
    classifier: AudioClassifier,
    train: Clips,
    validate: Clips,
    recipe: ClassifierRecipe,
    folder: Path,
    report: Callable[[int, int, Row], None] | None = None,
) -> list[Row]:
    """Train a classifier in place and leave the weights of its best epoch in it.

    The best epoch has the highest validation accuracy, the lower cross-entropy deciding between equals.

    Args:
        classifier: the network, freshly made.
        train: the clips to learn from, and noises to mix into them.
        validate: the clips that choose the epoch.
        recipe: the settings.
        folder: gets the log and the checkpoints; training goes on from there if it was stopped.
        report: see `earmark.training.loop.fit`.

    Returns:
        one row of figures per epoch.
    """
    size = recipe.loop.batch_size
    job = Job(
        step=_Step(classifier, recipe.augmentation),
        batches=lambda epoch, generator: _batches(train, len(classifier.labels), recipe, generator),
        validate=lambda: evaluate(classifier, validate, size),
        criterion=lambda row: row["accuracy"] - 1e-3 * row["cross_entropy"],
        steps_per_epoch=-(-len(train.waveform) // size),
    )
    return fit(job, recipe.loop, folder, report)


@torch.inference_mode()
def evaluate(classifier: AudioClassifier, clips: Clips, batch_size: int = 16) -> Row:
    """Return accuracy (0 … 1) and mean cross-entropy (nats) on whole, unchanged clips."""
    classifier.eval()
    device = classifier.device

    def compute(own: slice) -> Tensor:
        return torch.cat([classifier(part.to(device)) for part in clips.waveform[own].split(batch_size)])

    logits = over_shares(len(clips.waveform), compute).cpu()
    return {
        "accuracy": float((logits.argmax(1) == clips.labels).float().mean()),
        "cross_entropy": float(F.cross_entropy(logits, clips.labels)),
    }


def _batches(
    clips: Clips, classes: int, recipe: ClassifierRecipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    augmentation = recipe.augmentation
    order = torch.randperm(len(clips.waveform), generator=generator)
    for index in in_batches(order, recipe.loop.batch_size):
        waveform = time_shift(clips.waveform[index], generator)
        labels = F.one_hot(clips.labels[index], classes).float()
        waveform, labels = mixup(waveform, labels, augmentation.mixup_db, augmentation.mixup, generator)
        if clips.noises:
            waveform = add_noise(waveform, clips.noises, augmentation.noise_db, augmentation.noise, generator)
        yield random_gain(peak_normalise(waveform), augmentation.gain_db, generator), labels
