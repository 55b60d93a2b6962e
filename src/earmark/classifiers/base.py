"""What every explainer may ask of a classifier."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from typing_extensions import Self

from earmark.errors import ModelError
from earmark.features.level import peak_of
from earmark.features.spectrogram import Spectrogram

_MOST_NAMED = 20  # classes in an error line
_NEAR = 5  # of more than these, those that look most like what was asked for


@dataclass(frozen=True)
class Heard:
    """One forward pass, kept, so that nobody has to run the network again for what is known.

    Args:
        features: what the network ate, (batch, mels, frames).
        logits: (batch, classes).
        representations: the feature maps from shallow to deep.
        picture: what decoders look at, (batch, bands, frames), see `AudioClassifier.picture`.
    """

    features: Tensor
    logits: Tensor
    representations: list[Tensor]
    picture: Tensor


class AudioClassifier(nn.Module, ABC):
    """A classifier seen as waveform → STFT → features → logits, with its inner feature maps in reach.

    A subclass gives `features`, `representations` and `bands_to_bins`; the rest follows.

    Args:
        spectrogram: the linear STFT that masks live on; its sample rate is the classifier's.
        labels: class names in the order of the logits.
        seconds: the length of sound it was trained on; shorter clips are padded to it with silence.
        multi_label: whether several labels may hold at once (sigmoid), or exactly one does (softmax).

    Attributes:
        hears_phase: whether `features` needs complex spectra; if not, it takes their magnitudes as well.
        has_bands: whether the height of its feature maps is frequency; if not, they speak of time alone.
        peak_normalised: whether it hears every sound at a peak of 1, or at its own level.
        eats: what its features are, in a few words for people.
        frozen_is_quicker: whether the copy that `frozen` makes takes less time, and so is worth its memory.
    """

    hears_phase: bool = True
    has_bands: bool = True
    peak_normalised: bool = True
    eats: str = "features"
    frozen_is_quicker: bool = False

    def __init__(
        self,
        spectrogram: Spectrogram,
        labels: tuple[str, ...],
        seconds: float,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.spectrogram = spectrogram
        self.labels = labels
        self.seconds = seconds
        self.multi_label = multi_label

    @abstractmethod
    def features(self, stft: Tensor) -> Tensor:
        """Turn a complex (batch, bins, frames) into what the network eats, differentiably.

        It is real, (batch, rows, columns): bands and frames, or one row of samples.
        """

    @abstractmethod
    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits, (batch, classes), and the feature maps from shallow to deep.

        Maps are (batch, channels, height, width); a network without a frequency axis has height 1. They are
        what the logits are computed from, not copies, so that logits have a gradient with respect to them.
        """

    @abstractmethod
    def bands_to_bins(self) -> Tensor:
        """Return the fixed warp from the picture's bands to linear bins, (bins, bands); rows sum to one.

        See `earmark.features.bands.bands_to_bins`, which makes it of where the bins lie among the bands.
        """

    def maps_to_bins(self) -> Tensor | None:
        """Return the same for the height of the feature maps, or None where that is the bins themselves."""
        return self.bands_to_bins()

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return what decoders look at and draw on, (batch, bands, frames).

        These are the features, unless a subclass has none with a frequency and a time axis.

        Args:
            stft: complex (batch, bins, frames).
            features: what `features` made of it.
        """
        return features

    @torch.no_grad()
    def silence(self) -> Tensor:
        """Return the features of silence, (1, rows, 1): what is left of features that a mask takes away."""
        frames = self.spectrogram.frames(round(self.seconds * self.spectrogram.sample_rate))
        zeros = torch.zeros((1, self.spectrogram.bins, frames), device=self.device)
        features = self.features(torch.complex(zeros, zeros) if self.hears_phase else zeros)
        return features[..., features.shape[-1] // 2, None]

    def logits(self, features: Tensor) -> Tensor:
        """Return (batch, classes) before any softmax or sigmoid."""
        return self.representations(features)[0]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return (batch, classes) in [0, 1]; they sum to one unless several labels may hold."""
        return logits.sigmoid() if self.multi_label else logits.softmax(1)

    def question(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the target of the decision that a class takes part in.

        Where one label holds, it is among all classes. Where several may, each label is a yes or no of its
        own, so the logits become those of (yes, no), whose softmax is the label's sigmoid.

        Args:
            logits: (batch, classes).
            target: (batch,).

        Returns:
            logits, (batch, classes) or (batch, 2), and target, (batch,).
        """
        if not self.multi_label:
            return logits, target
        yes = logits.gather(1, target[:, None])
        return torch.cat([yes, torch.zeros_like(yes)], dim=1), torch.zeros_like(target)

    def forward(self, waveform: Tensor) -> Tensor:
        """Classify (batch, samples) at the classifier's own rate; returns (batch, classes)."""
        return self.logits(self.features(self.spectrogram(waveform / self.level(waveform))))

    def hear(self, stft: Tensor) -> Heard:
        """Run the network once on a complex (batch, bins, frames) and keep what it saw and made.

        The sounds must have been divided by their `level`, as `forward` has them.
        """
        features = self.features(stft)
        logits, representations = self.representations(features)
        return Heard(features, logits, representations, self.picture(stft, features))

    def passes_gradients(self) -> bool:
        """Whether the logits have a gradient with respect to the spectrum; one that leaves torch has none.

        It is True where the network fails for another reason, which is not hidden by this one.
        """
        samples = round(self.seconds * self.spectrogram.sample_rate)
        noise = 0.1 * torch.randn((1, samples), generator=torch.Generator().manual_seed(0))
        stft = self.spectrogram(noise.to(self.device))
        try:
            with torch.no_grad():
                self.logits(self.features(stft))
        except Exception:  # the network may be anyone's
            return True
        try:
            with torch.enable_grad():
                total = self.logits(self.features(stft.requires_grad_())).sum()
                return torch.autograd.grad(total, stft, allow_unused=True)[0] is not None
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return False

    def frozen(self) -> Self:
        """Return a copy to train something else on: evaluation mode, no gradients for its own weights.

        A subclass may return one that gives the same in less time, and says so by `frozen_is_quicker`.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.spectrogram.window.device

    def level(self, waveform: Tensor) -> Tensor:
        """Return what each sound, (batch, samples), is divided by before it is heard, (batch, 1)."""
        return peak_of(waveform) if self.peak_normalised else torch.ones_like(waveform[:, :1])

    def label_index(self, label: str) -> int:
        """Return the index of a class name.

        Raises:
            ModelError: the classifier has no such class.
        """
        if label in self.labels:
            return self.labels.index(label)
        known = self.labels
        if len(known) > _MOST_NAMED:
            near = get_close_matches(label, known, _NEAR, cutoff=0.4) or known[:_NEAR]
            known = (*near, f"another of the {len(known)} that `earmark info` lists")
        raise ModelError(f"the model has no class {label!r}", f"one of {', '.join(known)}")


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
