"""LMAC-TD as an explainer: one pass through the classifier, one through a separator of waveforms."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.explainers.attribution import AT_ONCE
from earmark.explainers.base import Domain, Trained, map_channels, register
from earmark.explainers.lmac_td.network import LmacTdConfig, Separator

_PRICE = 0.01
"""Of what is kept of quiet bins, see `nearest_mask`: 20 dB below a sound's mean power, half goes."""


@register("lmac-td")
class LmacTd(Trained):
    """Listenable maps in the time domain: a separator trained on the classifier's representations.

    Its explanation is a sound, `sounds`, not a mask. `masks` says which mask on the STFT comes nearest to it,
    so that it is plotted, windowed, thresholded and scored as all others are.

    Args:
        classifier: the frozen classifier.
        config: what the separator is.

    Source: Mancini et al., LMAC-TD: Producing Time Domain Explanations for Audio Classifiers, 2024.
    """

    summary = "a separator of waveforms trained once, then one forward pass a sound (LMAC-TD)"
    domains: ClassVar[tuple[Domain, ...]] = ("stft",)
    settings: ClassVar = LmacTdConfig
    config: LmacTdConfig

    def __init__(self, classifier: AudioClassifier, config: LmacTdConfig | None = None) -> None:
        super().__init__(classifier)
        self.config = config or LmacTdConfig()
        channels = map_channels(classifier, self.name)
        self.network = Separator(self.config, channels, len(classifier.labels), classifier.has_bands)
        self.network.eval().to(classifier.device)

    @property
    def weights(self) -> nn.Module:
        """See `Trained.weights`."""
        return self.network

    @torch.no_grad()
    def sounds(
        self, stft: Tensor, target: Tensor, heard: Heard | None = None, samples: int | None = None
    ) -> Tensor:
        """Return the explanations as sounds, as the separator gives them.

        Args:
            stft: complex (batch, bins, frames), of sounds divided by their `AudioClassifier.level`.
            target: (batch,), the classes to explain.
            heard: see `Explainer.masks`.
            samples: the sounds' length; that from the first frame's middle to the last's if not given.

        Returns:
            (batch, samples).
        """
        samples = samples or max(1, (stft.shape[2] - 1) * self.classifier.spectrogram.config.hop_length)
        found = []
        for start in range(0, len(stft), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            waveform = self.classifier.spectrogram.inverse(stft[part], samples)
            if heard:
                inside = [maps[part] for maps in heard.representations]
            else:
                inside = self.classifier.hear(stft[part]).representations
            found.append(self.network(waveform, inside, target[part])[0])
        return torch.cat(found)

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        """Return the masks on the STFT that come nearest to `sounds`, by `nearest_mask`.

        A mask keeps the phase of what it is laid on, which the separator need not: what is masked sounds like
        `sounds`, and is not quite the same. Bins 20 dB below a sound's mean power get half of their share:
        nobody hears what is kept of them, and without that price the quietest bins would rank highest.
        """
        explained = self.classifier.spectrogram(self.sounds(stft, target, heard))
        return nearest_mask(explained, stft, _PRICE)


def nearest_mask(part: Tensor, whole: Tensor, price: float = 0.0) -> Tensor:
    """Return the real mask in [0, 1] by which a spectrum comes nearest to a part of it, bin by bin.

    It is Re(Y · conj X) / (|X|² + price · mean of |X|²), clipped: of all masks M in [0, 1] the one with the
    least |M · X − Y|², plus price · mean of |X|² · M².

    Args:
        part: Y, complex (batch, bins, frames).
        whole: X, the same shape.
        price: of what is kept, against which only bins that are loud enough hold.

    Returns:
        (batch, bins, frames); 0 where the whole is silent.

    >>> whole = torch.tensor([[[2 + 0j, 2j, 1 + 0j, 0j]]])
    >>> nearest_mask(torch.tensor([[[1 + 5j, -1j, 3 + 0j, 1 + 0j]]]), whole)
    tensor([[[0.5000, 0.0000, 1.0000, 0.0000]]])
    """
    power = whole.abs().square()
    matched = part.real * whole.real + part.imag * whole.imag
    cost = power + price * power.mean(dim=(1, 2), keepdim=True)
    return (matched / cost.masked_fill(cost == 0, torch.inf)).clamp(0, 1)
