"""L-MAC as an explainer: one pass through the classifier, one through the decoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import ModelError
from earmark.explainers.base import Domain, Trained, map_channels, register
from earmark.explainers.lmac.decoder import Decoder, DecoderConfig, make_decoder
from earmark.features.masking import MaskScale


class LmacConfig(BaseModel):
    """What a trained L-MAC is, beside its weights.

    Args:
        decoder: which decoder.
        scale: what its masks on the STFT multiply, see `earmark.features.masking.apply_mask`; "log1p" is
            the authors' recipe's.
        description: how it was trained, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decoder: DecoderConfig = DecoderConfig()
    scale: MaskScale = "magnitude"
    description: str = ""


@register("lmac")
class Lmac(Trained):
    """Listenable maps for audio classifiers: a decoder trained on the classifier's representations.

    Args:
        classifier: the frozen classifier.
        config: what the decoder is.

    Source: Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.
    """

    summary = "a decoder trained once, then one forward pass a sound (L-MAC)"
    settings: ClassVar = LmacConfig
    config: LmacConfig

    def __init__(self, classifier: AudioClassifier, config: LmacConfig | None = None) -> None:
        super().__init__(classifier)
        self.config = config or LmacConfig()
        self.domain = self.config.decoder.domain
        self.scale = self.config.scale
        self.decoder = decoder_for(classifier, self.config.decoder).eval()

    @property
    def weights(self) -> nn.Module:
        """See `Trained.weights`."""
        return self.decoder

    def on(self, domain: Domain, scale: MaskScale | None = None) -> Self:
        """See `Explainer.on`; the decoder draws on the features in any case, and linear bins are looked up.

        Raises:
            ModelError: masks on the STFT are asked of a decoder that was trained on features.
        """
        if domain == "stft" and self.decoder.rows is None:
            raise ModelError("this lmac was trained on features", "one for the STFT", "train one with stft")
        return super().on(domain, scale)

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        with torch.no_grad():
            heard = heard or self.classifier.hear(stft)
            rows, frames = (stft if self.domain == "stft" else heard.features).shape[1:]
            inside = heard.picture, heard.representations, target
            return torch.sigmoid(self.decoder(*inside, (rows, frames), self.domain))


def decoder_for(classifier: AudioClassifier, config: DecoderConfig) -> Decoder:
    """Build a decoder with new weights that fits a classifier's representations."""
    channels = map_channels(classifier, "lmac")
    rows = classifier.bands_to_bins() if config.domain == "stft" else None
    return make_decoder(config, channels, len(classifier.labels), rows).to(classifier.device)
