"""L-MAC as an explainer: one pass through the classifier, one through the decoder."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.explainers.base import Explainer, register
from earmark.explainers.lmac.decoder import Decoder, DecoderConfig, make_decoder, mel_to_bins


class LmacConfig(BaseModel):
    """What a trained L-MAC is, beside its weights.

    Args:
        decoder: which decoder.
        description: how it was trained, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decoder: DecoderConfig = DecoderConfig()
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
        self.decoder = decoder_for(classifier, self.config.decoder).eval()

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """See `Explainer.masks`."""
        with torch.no_grad():
            heard = heard or self.classifier.hear(stft)
            return torch.sigmoid(self.decoder(heard.features, heard.representations, target))

    @property
    def modules(self) -> list[nn.Module]:
        """The parts with weights of their own."""
        return [self.decoder]


@torch.no_grad()
def decoder_for(classifier: AudioClassifier, config: DecoderConfig) -> Decoder:
    """Build a decoder with new weights that fits a classifier's representations."""
    spectrogram = classifier.spectrogram
    training = classifier.training
    device = next(classifier.parameters()).device
    # Channels and rows do not depend on the length, so a moment of silence will do.
    silence = torch.zeros(1, 1, device=device)
    heard = classifier.eval().hear(spectrogram(silence))
    classifier.train(training)
    rows = None
    if config.domain == "stft":
        rows = mel_to_bins(spectrogram.sample_rate, spectrogram.bins, heard.features.shape[1])
    channels = [maps.shape[1] for maps in heard.representations]
    return make_decoder(config, channels, len(classifier.labels), rows).to(device)
