"""L2I as an explainer: the components of a sound that speak for the class, and their part of the sound."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import ModelError
from earmark.explainers.base import Components, Trained, map_channels, register
from earmark.explainers.l2i.network import L2iConfig, L2iNetwork


class Spectra(Components):
    """What a sound is made of, as far as the interpreter knows.

    Args:
        relevance: see `Components`.
        activations: (batch, components, frames), when each sounds.
        dictionary: (bins, components), how each sounds.
    """

    def __init__(self, relevance: Tensor, activations: Tensor, dictionary: Tensor) -> None:
        super().__init__(relevance)
        self.activations, self.dictionary = activations, dictionary

    def mask(self, chosen: Tensor) -> Tensor:
        """See `Components.mask`."""
        kept = self.dictionary @ (self.activations * chosen[:, :, None])
        every = self.dictionary @ self.activations
        return (kept / every.clamp_min(torch.finfo(every.dtype).tiny)).clamp(0, 1)


@register("l2i")
class L2i(Trained):
    """Listen to interpret: sounds as a sum of learned spectra, and a linear decision on when they sound.

    Its mask is the share of each bin that relevant components explain. Variants such as "l2i@0.4" have
    another threshold of relevance; the paper's are 0.2, 0.4, 0.6 and 0.8.

    Args:
        classifier: the frozen classifier.
        config: what the interpreter is.

    Source: Parekh et al., Listen to Interpret: Post-hoc Interpretability for Audio Networks with NMF,
    NeurIPS 2022.
    """

    summary = "learned spectra that speak for the class, by NMF and one forward pass (L2I)"
    domains = ("stft",)
    settings: ClassVar = L2iConfig
    config: L2iConfig

    def __init__(self, classifier: AudioClassifier, config: L2iConfig | None = None) -> None:
        super().__init__(classifier)
        self.config = config or L2iConfig()
        self.threshold = self.config.threshold
        channels = map_channels(classifier, "l2i")
        network = L2iNetwork(self.config, channels, classifier.spectrogram.bins, len(classifier.labels))
        self.network = network.to(classifier.device).eval()

    @property
    def weights(self) -> nn.Module:
        """See `Trained.weights`."""
        return self.network

    def variant(self, text: str) -> Self:
        """Return the same interpreter with another threshold of relevance.

        Raises:
            ModelError: it is none.
        """
        try:
            threshold = float(text)
        except ValueError:
            threshold = -1.0
        if not 0 <= threshold < 1:
            raise ModelError(f"l2i@{text}", "a threshold from 0 to below 1", "write for example l2i@0.4")
        other = self.on(self.domain, self.scale)
        other.threshold = threshold
        return other

    @torch.no_grad()
    def components(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Spectra:
        """See `Explainer.components`."""
        heard = heard or self.classifier.hear(stft)
        activations = self.network.activations(heard.representations, stft.shape[2])
        relevance = self.network.relevance(self.network.pooled(activations), target)
        return Spectra(relevance, activations, self.network.dictionary)

    @torch.no_grad()
    def decisions(self, heard: Heard) -> Tensor:
        """Return what the interpreter itself decides, logits of (batch, classes): its fidelity is how often
        that is the classifier's decision.
        """
        frames = heard.picture.shape[2]
        return self.network.decide(
            self.network.pooled(self.network.activations(heard.representations, frames))
        )

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        found = self.components(stft, target, heard)
        chosen = (found.relevance > self.threshold).to(found.activations.dtype)
        return found.mask(chosen) * (stft.abs().amax((1, 2), keepdim=True) > 0)
