"""The two decoders: shapes, size, what they look at."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.errors import ModelError
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig, decoder_for

SMALL = DecoderConfig(channels=(4, 8))
PAPER = DecoderConfig(kind="paper", paper_channels=8)


@pytest.fixture
def classifier() -> Cnn14:
    torch.manual_seed(0)
    return Cnn14(Cnn14Config(labels=("dog", "rain", "wind"), width=1 / 16)).eval()


@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["compact", "paper"])
@pytest.mark.parametrize("samples", [16000, 48000, 64000, 80000, 160000])
def test_any_length(classifier: Cnn14, config: DecoderConfig, samples: int) -> None:
    stft = classifier.spectrogram(torch.randn(2, samples))
    mask = Lmac(classifier, LmacConfig(decoder=config)).masks(stft, torch.tensor([0, 1]))
    assert mask.shape == stft.shape
    assert 0 <= mask.min() <= mask.max() <= 1


@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["compact", "paper"])
def test_feature_domain_masks_have_the_features_shape(classifier: Cnn14, config: DecoderConfig) -> None:
    explainer = Lmac(classifier, LmacConfig(decoder=config.model_copy(update={"domain": "features"})))
    stft = classifier.spectrogram(torch.randn(2, 30000))
    assert explainer.domain == "features"
    assert explainer.masks(stft, torch.tensor([0, 1])).shape == classifier.features(stft).shape


def test_batch_equals_one_by_one(classifier: Cnn14) -> None:
    explainer = Lmac(classifier, LmacConfig(decoder=SMALL))
    stft, target = classifier.spectrogram(torch.randn(3, 16000)), torch.tensor([2, 0, 1])
    one_by_one = torch.cat([explainer.masks(stft[i : i + 1], target[i : i + 1]) for i in range(3)])
    assert torch.allclose(explainer.masks(stft, target), one_by_one, atol=1e-5)


def test_what_was_heard_is_not_heard_again(classifier: Cnn14) -> None:
    explainer = Lmac(classifier, LmacConfig(decoder=SMALL))
    stft, target = classifier.spectrogram(torch.randn(1, 16000)), torch.tensor([1])
    heard = classifier.hear(stft)
    expected = explainer.masks(stft, target)
    explainer.classifier = None
    assert torch.equal(explainer.masks(stft, target, heard), expected)


def test_class_conditional_masks_differ_by_class_and_others_do_not(classifier: Cnn14) -> None:
    stft = classifier.spectrogram(torch.randn(1, 16000))
    for conditional in (True, False):
        config = SMALL.model_copy(update={"class_conditional": conditional})
        explainer = Lmac(classifier, LmacConfig(decoder=config))
        masks = [explainer.masks(stft, torch.tensor([c])) for c in (0, 1)]
        assert torch.equal(*masks) != conditional


def test_compact_decoder_can_do_without_the_features(classifier: Cnn14) -> None:
    config = SMALL.model_copy(update={"look_at_features": False})
    decoder = decoder_for(classifier, config).eval()
    heard = classifier.hear(classifier.spectrogram(torch.randn(1, 16000)))
    target = torch.tensor([0])
    masks = [
        decoder(heard.features + shift, heard.representations, target, tuple(heard.features.shape[1:]))
        for shift in (0, 1)
    ]
    assert torch.equal(*masks)


def test_compact_decoder_holds_its_budget_at_full_size() -> None:
    classifier = Cnn14(Cnn14Config(labels=tuple(map(str, range(50))))).eval()
    decoder = decoder_for(classifier, DecoderConfig()).eval()
    assert sum(p.numel() for p in decoder.parameters()) <= 1e6
    with torch.no_grad():
        stft = classifier.spectrogram(torch.zeros(1, 80000))
        with FlopCounterMode(display=False) as forward:
            heard = classifier.hear(stft)
        with FlopCounterMode(display=False) as decoding:
            decoder(heard.picture, heard.representations, torch.tensor([0]), (513, 431))
    assert decoding.get_total_flops() <= 0.1 * forward.get_total_flops()


@pytest.mark.parametrize("scale", ["recipe", "htk", "slaney"])
def test_warp_puts_a_band_where_its_frequencies_are(scale: str) -> None:
    classifier = Cnn14(Cnn14Config(labels=("a", "b"), width=1 / 16, mel_scale=scale))
    warp = classifier.bands_to_bins()
    assert warp.sum(1).sub(1).abs().max() < 1e-6
    for band in (20, 40, 60, 79):
        # Where the classifier's own triangle of that band is highest.
        assert abs(int(warp[:, band].argmax()) - int(classifier.mel[band].argmax())) <= 1


def test_one_decoder_draws_in_both_domains(classifier: Cnn14) -> None:
    explainer = Lmac(classifier, LmacConfig(decoder=SMALL))
    stft = classifier.spectrogram(torch.randn(1, 16000))
    on_bands, on_bins = (
        explainer.on(domain).masks(stft, torch.tensor([0])) for domain in ("features", "stft")
    )
    assert on_bands.shape == classifier.features(stft).shape
    assert torch.allclose(torch.sigmoid(explainer.decoder.rows @ on_bands.logit()), on_bins, atol=1e-4)


def test_a_decoder_trained_on_features_has_no_linear_mask(classifier: Cnn14) -> None:
    config = SMALL.model_copy(update={"domain": "features"})
    explainer = Lmac(classifier, LmacConfig(decoder=config))
    assert explainer.domain == "features"
    with pytest.raises(ModelError, match="trained on features"):
        explainer.on("stft")


def test_folded_norms_draw_the_same_mask(classifier: Cnn14) -> None:
    decoder = decoder_for(classifier, SMALL).eval()
    norms = [module for module in decoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        for values in (norm.running_mean, norm.weight.data, norm.bias.data):
            torch.nn.init.normal_(values)
        torch.nn.init.uniform_(norm.running_var, 0.3, 3)
    heard = classifier.hear(classifier.spectrogram(torch.randn(2, 16000)))
    given = heard.picture, heard.representations, torch.tensor([0, 1])
    plain = decoder.on_picture(*given)  # with gradients norms are left as they are
    assert len(norms) > 6
    assert plain.requires_grad
    with torch.no_grad():
        folded = decoder.on_picture(*given)
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4 * float(plain.detach().abs().max()))
