"""The dictionary of spectra that sounds are summed up from, by non-negative matrix factorisation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from earmark.errors import DataError
from earmark.features.spectrogram import Spectrogram

_MOST_FRAMES = 20_000
"""A hundred times as many as there are spectra to learn; with more it only takes longer."""
_AT_ONCE = 16


def learn_dictionary(spectra: Tensor, components: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the spectra that others are best summed up from, by NMF, and how loud each usually is.

    Args:
        spectra: (frames, bins), not negative.
        components: how many to learn.
        seed: of the first guess.

    Returns:
        (bins, components), not negative, each with a largest value of 1; and the mean of what they are
        multiplied by, (components,).

    Raises:
        DataError: there are fewer frames with sound than components.

    >>> one, other = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([0.0, 1.0, 0.0])
    >>> found, _ = learn_dictionary(torch.outer(torch.rand(50), one) + torch.outer(torch.rand(50), other), 2)
    >>> sorted(found[0].round().tolist()), sorted(found[1].round().tolist())
    ([0.0, 1.0], [0.0, 1.0])
    """
    from sklearn.decomposition import MiniBatchNMF
    from sklearn.exceptions import ConvergenceWarning

    heard = spectra[spectra.amax(1) > 0]
    if len(heard) < components:
        given = f"there are {len(heard)} frames with sound to learn {components} components from"
        raise DataError(given, "at least as many frames", "pass more clips, or lower components")
    nmf = MiniBatchNMF(components, init="nndsvda", random_state=seed, batch_size=4096, max_iter=60)
    with warnings.catch_warnings():
        # It is stopped after so many rounds on purpose: what is left to gain is a per cent.
        warnings.simplefilter("ignore", ConvergenceWarning)
        activations = nmf.fit_transform(heard.numpy())
    found = np.maximum(nmf.components_, 1e-6)
    largest = found.max(1, keepdims=True)
    usual = torch.from_numpy(activations.mean(0) * largest[:, 0]).float().clamp_min(1e-6)
    return torch.from_numpy(found / largest).T.float().contiguous(), usual


def log_spectra(spectrogram: Spectrogram, sounds: Tensor, seed: int = 0) -> Tensor:
    """Return log(1 + magnitude) of frames of sounds, (frames, bins); some of them, if there are many.

    Args:
        spectrogram: the transform.
        sounds: (clips, samples), at the level at which the classifier hears them.
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    per_clip = max(1, _MOST_FRAMES // len(sounds))
    return torch.cat([_some(part, per_clip, generator) for part in _transformed(spectrogram, sounds)])


def _transformed(spectrogram: Spectrogram, sounds: Tensor) -> Iterable[Tensor]:
    for part in sounds.split(_AT_ONCE):
        yield from spectrogram(part.to(spectrogram.window.device)).abs().log1p().transpose(1, 2).cpu()


def _some(frames: Tensor, most: int, generator: torch.Generator) -> Tensor:
    return frames[torch.randperm(len(frames), generator=generator)[:most]]
