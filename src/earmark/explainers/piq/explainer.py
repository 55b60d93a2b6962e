"""PIQ as an explainer: one pass through the classifier, one through codes and decoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier, Heard, evaluating
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.base import Trained, map_channels, register
from earmark.explainers.piq.network import PiqConfig, PiqNetwork


@register("piq")
class Piq(Trained):
    """Posthoc interpretation via quantization: the classifier's representations in codes of one class.

    A mask is drawn from these codes alone, so it can only tell what the class's own codes can say.

    Args:
        classifier: the frozen classifier.
        config: what the network is.

    Source: Paissan et al., Posthoc Interpretation via Quantization, 2023, arXiv:2303.12659. There the decoder
    draws the source's binarised spectrum, and the codebook learns by gradients; here what is drawn is a mask
    that the classifier judges too.
    """

    summary = "a mask drawn from codes that each class has of its own, trained once (PIQ)"
    settings: ClassVar = PiqConfig
    config: PiqConfig

    def __init__(self, classifier: AudioClassifier, config: PiqConfig | None = None) -> None:
        super().__init__(classifier)
        self.config = config or PiqConfig()
        channels = map_channels(classifier, "piq")
        classes, rows = len(classifier.labels), classifier.bands_to_bins()
        self.network = PiqNetwork(self.config, channels, classes, rows).to(classifier.device).eval()

    @property
    def weights(self) -> nn.Module:
        """See `Trained.weights`."""
        return self.network

    @torch.no_grad()
    def codes(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """Return which of its class's codes stands where, (batch, height, width); arguments as of `masks`."""
        with evaluating(self.classifier):
            heard = heard or self.classifier.hear(stft)
        return self.network.quantise(heard.representations, target, _size(heard.picture)).chosen

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        found = []
        with evaluating(self.classifier), torch.no_grad():
            for start in range(0, len(stft), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                of_part = _part(heard, part) if heard else self.classifier.hear(stft[part])
                size = _size(stft if self.domain == "stft" else of_part.features)
                picture = _size(of_part.picture)
                told = self.network.quantise(of_part.representations, target[part], picture).maps
                found.append(torch.sigmoid(self.network.draw(told, picture, size, self.domain)))
        return torch.cat(found) * (stft.abs().amax((1, 2), keepdim=True) > 0)


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[-2], picture.shape[-1]


def _part(heard: Heard, part: slice) -> Heard:
    maps = [each[part] for each in heard.representations]
    return Heard(heard.features[part], heard.logits[part], maps, heard.picture[part])
