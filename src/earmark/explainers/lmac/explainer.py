"""L-MAC as an explainer: one pass through the classifier, one through the decoder."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from typing_extensions import Self

from earmark.classifiers.base import AudioClassifier, Heard, evaluating
from earmark.errors import ModelError
from earmark.explainers.base import Domain, Explainer, register
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
class Lmac(Explainer):
    """Listenable maps for audio classifiers: a decoder trained on the classifier's representations.

    Args:
        classifier: the frozen classifier.
        config: what the decoder is.

    Source: Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.
    """

    summary = "a decoder trained once, then one forward pass a sound (L-MAC)"

    def __init__(self, classifier: AudioClassifier, config: LmacConfig | None = None) -> None:
        super().__init__(classifier)
        self.config = config or LmacConfig()
        self.domain = self.config.decoder.domain
        self.scale = self.config.scale
        self.decoder = decoder_for(classifier, self.config.decoder).eval()

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


@torch.no_grad()
def decoder_for(classifier: AudioClassifier, config: DecoderConfig) -> Decoder:
    """Build a decoder with new weights that fits a classifier's representations."""
    spectrogram = classifier.spectrogram
    silence = torch.zeros(1, round(classifier.seconds * spectrogram.sample_rate), device=classifier.device)
    with evaluating(classifier):
        heard = classifier.hear(spectrogram(silence))
    if not heard.representations:
        fix = "name one with wrap(…, layers=[…])"
        raise ModelError("lmac needs a feature map, and the classifier has none", fix=fix)
    rows = classifier.bands_to_bins() if config.domain == "stft" else None
    channels = [maps.shape[1] for maps in heard.representations]
    return make_decoder(config, channels, len(classifier.labels), rows).to(classifier.device)
