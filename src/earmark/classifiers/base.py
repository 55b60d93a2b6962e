"""What every explainer may ask of a classifier."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import Self

from earmark.errors import ModelError
from earmark.features.level import peak_normalise
from earmark.features.spectrogram import Spectrogram


@dataclass(frozen=True)
class Heard:
    """One forward pass, kept, so that nobody has to run the network again for what is known.

    Args:
        features: what the network ate, (batch, mels, frames).
        logits: (batch, classes).
        representations: the feature maps from shallow to deep.
    """

    features: Tensor
    logits: Tensor
    representations: list[Tensor]


class AudioClassifier(nn.Module, ABC):
    """A classifier seen as waveform → STFT → features → logits, with its inner feature maps in reach.

    A subclass gives `features`, `representations` and `band_position`; the rest follows.

    Args:
        spectrogram: the linear STFT that masks live on; its sample rate is the classifier's.
        labels: class names in the order of the logits.
        seconds: the length of sound it was trained on; shorter clips are padded to it with silence.

    Attributes:
        hears_phase: whether `features` needs complex spectra; if not, it takes their magnitudes as well.
    """

    hears_phase: ClassVar[bool] = True

    def __init__(self, spectrogram: Spectrogram, labels: tuple[str, ...], seconds: float) -> None:
        super().__init__()
        self.spectrogram = spectrogram
        self.labels = labels
        self.seconds = seconds

    @abstractmethod
    def features(self, stft: Tensor) -> Tensor:
        """Turn a complex (batch, bins, frames) into what the network eats, differentiably."""

    @abstractmethod
    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, (batch, classes), and the feature maps from shallow to deep.

        Maps are (batch, channels, height, width); a network without a frequency axis has height 1. They are
        what the logits are computed from, not copies, so that logits have a gradient with respect to them.
        """

    @abstractmethod
    def band_position(self, frequency: Tensor) -> Tensor:
        """Return where frequencies in Hz, (bins,), lie among the features' bands: 2.5 is between 2 and 3."""

    def logits(self, features: Tensor) -> Tensor:
        """Return (batch, classes) before any softmax."""
        return self.representations(features)[0]

    def forward(self, waveform: Tensor) -> Tensor:
        """Classify (batch, samples) at the classifier's own rate and level; returns (batch, classes)."""
        return self.logits(self.features(self.spectrogram(peak_normalise(waveform))))

    def hear(self, stft: Tensor) -> Heard:
        """Run the network once on a complex (batch, bins, frames) and keep what it saw and made.

        The sounds must be at a peak of 1, as `forward` has them: see `earmark.features.level`.
        """
        features = self.features(stft)
        return Heard(features, *self.representations(features))

    def frozen(self) -> Self:
        """Return a copy to train something else on: evaluation mode, no gradients for its own weights.

        A subclass may return one that gives the same in less time.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)

    def label_index(self, label: str) -> int:
        """Return the index of a class name.

        Raises:
            ModelError: the classifier has no such class.
        """
        if label not in self.labels:
            raise ModelError(
                f"the model has no class {label!r}", f"one of {', '.join(self.labels)}", "pick one of these"
            )
        return self.labels.index(label)
