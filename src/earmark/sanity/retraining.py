"""Small networks that checks train: a CNN14 on the classifier's own STFT, and L-MACs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.training import Clips
from earmark.evaluation.protocol import Material, mixtures
from earmark.evaluation.runner import mean_scores, score_sounds
from earmark.explainers.base import Explainer, find
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.explainers.lmac.objective import ObjectiveConfig
from earmark.explainers.lmac.training import LmacRecipe, LmacScenes, train_lmac
from earmark.training.loop import LoopSettings, Row

Report = Callable[[int, int, Row], None]


def small_cnn14(
    like: AudioClassifier, labels: tuple[str, ...], width: float = 1 / 16, n_mels: int = 64, seed: int = 0
) -> Cnn14:
    """Return a new CNN14 that hears as much as a classifier does, through the same STFT.

    Args:
        like: whose STFT and length of sound.
        labels: what it is to tell apart.
        width: factor on the channels.
        n_mels: number of mel bands.
        seed: of its first weights.
    """
    config = Cnn14Config(
        labels=labels, width=width, n_mels=n_mels, seconds=like.seconds, spectrogram=like.spectrogram.config
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Cnn14(config).to(like.device)


_PLAIN = ObjectiveConfig(mask_in=2.0, mask_out=1.0, out_loss="bounded", sparsity=4.0)


def quick_recipe(loop: LoopSettings, objective: ObjectiveConfig = _PLAIN) -> LmacRecipe:
    """Return a recipe for a small L-MAC: eq. 2 alone, as guidance would tell it where sources are.

    Args:
        loop: epochs, rate, seed, device.
        objective: the weights of eq. 2.
    """
    scenes = LmacScenes(clean=0.5, noise=0.0, other_class=0.0, passes=1)
    return LmacRecipe(objective=objective, scenes=scenes, loop=loop)


def clips_of(material: Material, own_level: bool = False) -> Clips:
    """Return clips to train on: those that are not silent, and the noises.

    Args:
        material: clips and noises.
        own_level: whether the clips keep their level, see `earmark.classifiers.training.Clips`.
    """
    heard = material.audible
    return Clips(material.waveform[heard], material.labels[heard], list(material.noises.values()), own_level)


def trained_lmac(
    classifier: AudioClassifier,
    train: Clips,
    validate: Clips,
    recipe: LmacRecipe,
    folder: Path,
    report: Report | None = None,
) -> Lmac:
    """Train an L-MAC for a classifier, or take it up from the folder, which may hold it finished.

    Args:
        classifier: what it explains; it is left as it is.
        train: the clips to learn from.
        validate: the clips whose mixtures choose the epoch; of two classes at least.
        recipe: the settings.
        folder: gets the log and the checkpoints.
        report: see `earmark.training.loop.fit`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.loop.seed)
        explainer = Lmac(classifier, LmacConfig(decoder=recipe.decoder, scale=recipe.scale))
    sounds = mixtures(validate.waveform, validate.labels, per_clip=1)
    train_lmac(
        explainer,
        replace(train, own_level=not classifier.peak_normalised),
        recipe,
        folder,
        lambda: mean_scores(score_sounds(explainer, sounds)[None]),
        report=report,
    )
    explainer.decoder.eval().requires_grad_(False)
    return explainer


def fresh(method: str, classifier: AudioClassifier, seed: int = 0) -> Explainer:
    """Return an explainer that needs no training, for another classifier."""
    explainer = find(method)(classifier)
    explainer.seed = seed
    return explainer
