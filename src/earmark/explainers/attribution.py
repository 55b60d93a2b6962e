"""What all attribution methods share: the classifier as a function of what is masked, and |a| / max."""

from __future__ import annotations

import random
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier, Heard, evaluating
from earmark.errors import ModelError
from earmark.explainers.base import Domain, Explainer
from earmark.features.masking import MaskScale

AT_ONCE = 16
"""How many sounds, or steps of one sound, go through the classifier together: it bounds the memory."""


class Canvas(nn.Module):
    """A classifier as a function of what masks are laid on, as Captum wants it.

    Args:
        classifier: the network.
        domain: whether that is the STFT or the features.
        scale: whether the STFT counts by its magnitude or by log1p of it.
    """

    def __init__(self, classifier: AudioClassifier, domain: Domain, scale: MaskScale) -> None:
        super().__init__()
        self.classifier = classifier
        self.domain = domain
        self.scale = scale
        self.silence = classifier.silence() if domain == "features" else torch.zeros(1)

    def forward(self, inputs: Tensor, peak: Tensor, phase: Tensor | None = None) -> Tensor:
        """Return logits, (batch, classes).

        Args:
            inputs: (batch, rows, frames), a picture with a largest value of 1, in which 0 is silence.
            peak: (batch, 1, 1), what it was divided by.
            phase: complex (batch, rows, frames) of absolute value 1, for classifiers that hear it.
        """
        return self.classifier.logits(self.features(inputs, peak, phase))

    def features(self, inputs: Tensor, peak: Tensor, phase: Tensor | None = None) -> Tensor:
        """Return what the network eats of pictures; arguments as above."""
        values = inputs * peak
        if self.domain == "features":
            return values + self.silence
        magnitude = torch.expm1(values) if self.scale == "log1p" else values
        return self.classifier.features(magnitude if phase is None else magnitude * phase)


class Picture(NamedTuple):
    """What is attributed to, (batch, rows, frames) with a largest value of 1 a clip, and the rest."""

    inputs: Tensor
    extra: tuple[Tensor, ...]

    def part(self, start: int, stop: int) -> Picture:
        """Return some of the clips."""
        return Picture(self.inputs[start:stop], tuple(value[start:stop] for value in self.extra))


class Attribution(Explainer):
    """A method that says of each bin how much it matters; |a| / max per clip is its mask, as in the paper.

    The picture of each clip is scaled to 1 before, which changes no attribution but by a factor, and
    makes noise and steps mean the same in a quiet sound as in a loud one.

    Attributes:
        needs_gradients: whether it asks for gradients of the classifier.
        at_once: how many clips `attribute` gets together; 1 for methods that go many steps with each, so
            that the steps fill the batch, and what they draw at random is not shared out among clips.
    """

    needs_gradients: ClassVar[bool] = True
    at_once: ClassVar[int] = AT_ONCE

    @abstractmethod
    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """Return how much each bin of the pictures matters for the targets' logits, (batch, rows, frames)."""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        canvas = Canvas(self.classifier, self.domain, self.scale)
        picture = self.picture(canvas, stft, heard)
        found = []
        with evaluating(self.classifier), torch.enable_grad(), warnings.catch_warnings():
            # It tells of gradients and hooks that it sets, and takes back.
            warnings.filterwarnings("ignore", category=UserWarning, module="captum")
            for start in range(0, len(stft), self.at_once):
                part = picture.part(start, start + self.at_once)
                with seeded(self.seed), self._explaining_failures():
                    of_part = self.attribute(canvas, part, target[start : start + self.at_once])
                found.append(of_part.detach())
        return relevance_mask(torch.cat(found))

    def check_gradients(self, cause: Exception | None = None) -> None:
        """See that the classifier has the gradients that the method asks for.

        Raises:
            ModelError: it lets none through.
        """
        if self.needs_gradients and not self.classifier.passes_gradients():
            network = type(getattr(self.classifier, "network", self.classifier)).__name__
            given = f"{self.name} needs gradients, and {network} lets none through to its input"
            fix = "write its front end in torch, or pick a method without, such as occlusion"
            raise ModelError(given, "a network that is differentiable as a whole", fix) from cause

    @contextmanager
    def _explaining_failures(self) -> Iterator[None]:
        """Say so in one line when a method fails because the classifier lets no gradient through."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.check_gradients(error)
            raise

    def picture(self, canvas: Canvas, stft: Tensor, heard: Heard | None) -> Picture:
        """Return what is attributed to of sounds; arguments as of `masks`."""
        with torch.no_grad():
            if self.domain == "features":
                features = heard.features if heard else self.classifier.features(stft)
                return _scaled(features - canvas.silence)
            magnitude = stft.abs()
            scaled = _scaled(torch.log1p(magnitude) if self.scale == "log1p" else magnitude)
            if not self.classifier.hears_phase:
                return scaled
            return Picture(
                scaled.inputs, (*scaled.extra, torch.polar(torch.ones_like(magnitude), stft.angle()))
            )


def _scaled(values: Tensor) -> Picture:
    peak = values.abs().amax(dim=(1, 2), keepdim=True)
    peak = peak.masked_fill(peak == 0, 1)
    return Picture(values / peak, (peak,))


def relevance_mask(attributions: Tensor) -> Tensor:
    """Turn attributions into masks: their absolute value over its largest in each clip.

    Args:
        attributions: (batch, rows, frames).

    Returns:
        the same shape in [0, 1]; 0 for a clip in which nothing matters.

    Source: section 3 of Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.

    >>> relevance_mask(torch.tensor([[[1.0, -4.0]], [[0.0, 0.0]]]))
    tensor([[[0.2500, 1.0000]],
            [[0.0000, 0.0000]]])
    """
    size = attributions.abs().float()
    largest = size.amax(dim=(1, 2), keepdim=True)
    return size / largest.masked_fill(largest == 0, 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let everything random within come from a seed, and leave the caller's own chance untouched.

    Captum draws from torch's, numpy's and Python's global generators.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
