"""audioLIME: how much each component of the sound itself, such as a source in it, speaks for the class."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor

from earmark.classifiers.base import AudioClassifier, Heard, evaluating
from earmark.errors import ModelError
from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture, seeded
from earmark.explainers.base import Components, register

COMPONENTS = 8
"""Of NMF."""
PIECES = 5
"""In time, of both the harmonic and the percussive part."""
REACH = 31
"""Of the median filters, in frames and bins."""
PASSES = 96
"""How many mixtures of components the classifier hears."""

Decomposition = Callable[[Tensor], Tensor]
"""Magnitudes, (rows, frames), to components that sum to them, (components, rows, frames), not negative."""


class Parts(Components):
    """What a sound was taken apart into.

    Args:
        relevance: see `Components`.
        shares: (batch, parts, rows, frames), of each part in each bin.
    """

    def __init__(self, relevance: Tensor, shares: Tensor) -> None:
        super().__init__(relevance)
        self.shares = shares

    def mask(self, chosen: Tensor) -> Tensor:
        """See `Components.mask`."""
        return torch.einsum("bp,bprt->brt", chosen, self.shares).clamp(0, 1)


@register("audiolime")
class AudioLime(Attribution):
    """LIME on components of the sound: a linear model of the logit says what each of them adds to it.

    The model is learned from many mixtures, in each of which about half of the components are missing at
    random. A mask keeps of each bin the share that components have in it, weighted by how much they add; one
    that speaks against the class is not kept. Components are those of NMF, unless others are given.

    Args:
        classifier: what is explained.
        seed: of what is drawn.
        components: what takes a sound apart, such as a source separator: magnitudes, (rows, frames), to
            components, (components, rows, frames). Only their shares in each bin count.

    Source: Haunschmid et al., audioLIME: Listenable Explanations Using Source Separation, MML 2020;
    Ribeiro et al., "Why Should I Trust You?", KDD 2016, by Captum.
    """

    summary = f"LIME on {COMPONENTS} components of the sound, by NMF"
    needs_gradients = False
    at_once: ClassVar[int] = 1

    def __init__(
        self, classifier: AudioClassifier, seed: int = 0, components: Decomposition | None = None
    ) -> None:
        super().__init__(classifier, seed)
        self.decomposition = components

    def decompose(self, magnitude: Tensor) -> Tensor:
        """Return what magnitudes, (rows, frames), are the sum of, (components, rows, frames)."""
        return factorise(magnitude, COMPONENTS, self.seed)

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the picture cannot be taken apart.
        """
        if not picture.inputs.any() and 1 not in picture.inputs.shape[1:]:
            return torch.zeros_like(picture.inputs)
        weights, shares = self._weighed(canvas, picture, target)
        return torch.einsum("p,prt->rt", weights.relu(), shares)[None]

    def components(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Components:
        """See `Explainer.components`; sounds go one by one, and have as many parts each."""
        canvas = Canvas(self.classifier, self.domain, self.scale)
        picture, found = self.picture(canvas, stft, heard), []
        with evaluating(self.classifier), torch.no_grad():
            for index in range(len(stft)):
                with seeded(self.seed):
                    one = picture.part(index, index + 1)
                    found.append(self._weighed(canvas, one, target[index : index + 1]))
        weights, shares = (torch.stack(each) for each in zip(*found))
        largest = weights.abs().amax(1, keepdim=True)
        return Parts(weights / largest.masked_fill(largest == 0, 1), shares)

    def _weighed(self, canvas: Canvas, picture: Picture, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each component of a sound adds, (components,), and its share in each bin."""
        inputs = picture.inputs
        if inputs.shape[1] == 1 or inputs.shape[2] == 1:
            given = f"{self.name} cannot take a picture of {inputs.shape[1]} x {inputs.shape[2]} apart"
            raise ModelError(given, "several rows and frames", "explain on the stft")
        shares = shares_of((self.decomposition or self.decompose)(inputs[0].abs()), inputs[0])
        return component_weights(canvas, picture, target, shares), shares


@register("audiolime-hpss")
class AudioLimeHpss(AudioLime):
    """audioLIME on the harmonic and the percussive part of the sound, each cut in pieces of time."""

    summary = f"LIME on the harmonic and the percussive part, {PIECES} pieces in time each"

    def decompose(self, magnitude: Tensor) -> Tensor:
        """See `AudioLime.decompose`."""
        return in_pieces(harmonic_percussive(magnitude), PIECES)


def component_weights(canvas: Canvas, picture: Picture, target: Tensor, shares: Tensor) -> Tensor:
    """Return what each component adds to the logit of the target by LIME, (components,).

    Args:
        canvas: the classifier.
        picture: a single sound.
        target: (1,).
        shares: (components, rows, frames), of each component in each bin.
    """

    def mix(presence: Tensor, *extra: Tensor) -> Tensor:
        return canvas(picture.inputs * torch.einsum("np,prt->nrt", presence, shares), *extra)

    lime = Lime(mix, SkLearnRidge(), get_exp_kernel_similarity_function("cosine", kernel_width=0.25))
    found: Tensor = lime.attribute(
        shares.new_ones(1, len(shares)),
        target=target,
        additional_forward_args=picture.extra,
        n_samples=PASSES,
        perturbations_per_eval=AT_ONCE,
    )
    return found[0]


def shares_of(components: Tensor, whole: Tensor) -> Tensor:
    """Return which share of each bin is each component's.

    Args:
        components: (components, rows, frames), not negative.
        whole: (rows, frames), what was taken apart.

    Returns:
        (components, rows, frames) in [0, 1], on the device of the whole; they sum to one, and are equal where
        all components are 0.

    Raises:
        ModelError: the components have another size than the whole, or there are none.

    >>> shares_of(torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]]), torch.zeros(1, 2))
    tensor([[[0.2500, 0.5000]],
            [[0.7500, 0.5000]]])
    """
    if components.ndim != 3 or components.shape[1:] != whole.shape or not len(components):
        given = f"the components of a picture of {tuple(whole.shape)} are {tuple(components.shape)}"
        raise ModelError(
            given, "(components, rows, frames)", "mend the function that was given as components"
        )
    components = components.to(whole)
    total = components.sum(dim=0)
    return torch.where(total > 0, components / total.masked_fill(total == 0, 1), 1 / len(components))


def factorise(magnitude: Tensor, components: int, seed: int = 0) -> Tensor:
    """Take magnitudes apart by non-negative matrix factorisation: a spectrum each, louder and softer in time.

    Args:
        magnitude: (rows, frames), not negative.
        components: how many at most; there are no more than rows, or frames.
        seed: of the first guess.

    Returns:
        (components, rows, frames); they sum to about the magnitudes.

    >>> spectra, times = torch.eye(3)[:, :2], torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 2.0]])
    >>> sorted(factorise(spectra @ times, 2).sum((1, 2)).round().tolist())
    [2.0, 4.0]
    """
    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    model = NMF(min(components, *magnitude.shape), init="nndsvda", random_state=seed, max_iter=100)
    with warnings.catch_warnings():
        # It is stopped after so many rounds on purpose: shares in bins hardly change any more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        spectra = model.fit_transform(magnitude.detach().cpu().numpy())
    return torch.from_numpy(np.einsum("rp,pt->prt", spectra, model.components_)).to(magnitude)


def harmonic_percussive(magnitude: Tensor) -> Tensor:
    """Take magnitudes apart into what lasts in time and what spreads over frequency.

    Each bin is shared out by the squares of the medians along time and along frequency around it.

    Args:
        magnitude: (rows, frames), not negative.

    Returns:
        (2, rows, frames), harmonic and percussive; they sum to the magnitudes.

    Source: Fitzgerald, Harmonic/Percussive Separation Using Median Filtering, DAFx 2010.

    >>> cross = torch.zeros(65, 65)
    >>> cross[20], cross[:, 40] = 1.0, 1.0
    >>> harmonic, percussive = harmonic_percussive(cross)
    >>> harmonic[20, 10].item(), percussive[10, 40].item(), harmonic[20, 40].item()
    (1.0, 1.0, 0.5)
    """
    from scipy.ndimage import median_filter

    values = magnitude.detach().cpu().numpy()
    filtered = [median_filter(values, size) for size in ((1, REACH), (REACH, 1))]
    power = torch.from_numpy(np.stack(filtered)).to(magnitude).square()
    return shares_of(power, magnitude) * magnitude


def in_pieces(components: Tensor, pieces: int) -> Tensor:
    """Cut each component into pieces of time, which are components of their own.

    Args:
        components: (components, rows, frames).
        pieces: how many; there are no more than frames.

    Returns:
        (components * pieces, rows, frames), each 0 outside of its time.

    >>> in_pieces(torch.tensor([[[1.0, 2.0, 3.0]]]), 2)
    tensor([[[1., 2., 0.]],
            [[0., 0., 3.]]])
    """
    frames = components.shape[2]
    pieces = min(pieces, frames)
    number = torch.arange(frames, device=components.device) * pieces // frames
    inside = number == torch.arange(pieces, device=components.device)[:, None]
    return (components[:, None] * inside[None, :, None]).flatten(0, 1)
