"""The decoder of the authors' recipe; `classifiers/test_speechbrain.py` compares it with the original."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.errors import ModelError
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.features.spectrogram import SpectrogramConfig

RECIPE = LmacConfig(decoder=DecoderConfig(kind="recipe"), scale="log1p")


def classifier(**settings: Any) -> Cnn14:
    torch.manual_seed(0)
    return Cnn14(Cnn14Config(labels=("dog", "rain", "wind"), **{"width": 1 / 16, **settings})).eval()


def explainer(**settings: Any) -> Lmac:
    return Lmac(classifier(**settings), RECIPE)


# 1 to 12, 76, 88 and 96 frames, and 5 s: all that may be left over when frames are halved five times.
@pytest.mark.parametrize("samples", [1, 2000, *(186 * frames for frames in (75, 87, 95)), 80000, 81000])
def test_any_length(samples: int) -> None:
    lmac = explainer()
    stft = lmac.classifier.spectrogram(torch.randn(2, samples))
    mask = lmac.masks(stft, torch.tensor([0, 1]))
    assert mask.shape == stft.shape
    assert 0 < mask.min() < mask.max() < 1


@pytest.mark.parametrize("frames", [32, 39, 40, 47, 48, 63])
def test_what_fits_is_left_alone_and_what_does_not_is_repeated(frames: int) -> None:
    decoder = explainer().decoder
    sizes = [(16, 10, frames // 8), (32, 5, frames // 16), (64, 2, frames // 32), (128, 2, frames // 32)]
    maps = [torch.rand(1, *size) for size in sizes]
    n = 1 if frames < 48 else 2
    repeated = [
        torch.cat([one, *[one[..., -1:]] * (length - one.shape[-1])], dim=-1)
        for one, length in zip(maps, (4 * n + 1, 2 * n, n, n))
    ]
    logits = decoder.on_bins(maps)
    assert logits.shape == (1, 513, 32 * n + 9)
    assert torch.equal(logits, decoder.on_bins(repeated))


def test_masks_on_bands_are_the_mean_over_their_bins() -> None:
    lmac = explainer()
    stft = lmac.classifier.spectrogram(torch.randn(1, 16000))
    on_bins = lmac.masks(stft, torch.tensor([0])).logit()
    on_bands = lmac.on("features").masks(stft, torch.tensor([0])).logit()
    warp = lmac.classifier.bands_to_bins()
    by_hand = torch.stack([(warp[:, [b]] * on_bins[0]).sum(0) / warp[:, b].sum() for b in range(80)])
    torch.testing.assert_close(on_bands[0], by_hand, rtol=0, atol=1e-4)


def test_it_learns() -> None:
    decoder = explainer().decoder.train()
    stft = classifier().spectrogram(torch.randn(1, 16000))
    heard = classifier().hear(stft)
    decoder(heard.picture, heard.representations, torch.tensor([0]), (513, 87)).sum().backward()
    assert all(
        parameter.grad.abs().sum() > 0 for module in decoder.children() for parameter in module.parameters()
    )
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in decoder.modules()) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_mels": 64}, "80 mel bands and 513 bins"),
        ({"spectrogram": SpectrogramConfig(n_fft=512)}, "80 mel bands and 513 bins"),
        ({"width": 0.03}, "twice as many"),
    ],
)
def test_a_classifier_that_it_does_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        explainer(**settings)


def test_it_cannot_be_trained_on_features() -> None:
    config = LmacConfig(decoder=DecoderConfig(kind="recipe", domain="features"))
    with pytest.raises(ModelError, match="513 bins"):
        Lmac(classifier(), config)
