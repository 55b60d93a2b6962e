"""Each gradient method against its definition, worked out in plain torch."""

from __future__ import annotations

import math

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.base import AudioClassifier
from earmark.errors import ModelError
from earmark.explainers.attribution import Canvas, Picture
from earmark.explainers.base import find
from earmark.explainers.gradcam_plus_plus import place_weights
from explainers.networks import Cue, Functional, cnn14, noise

TARGET = torch.tensor([0, 2])


@pytest.fixture(scope="module")
def classifier() -> AudioClassifier:
    return cnn14().eval()


@pytest.fixture(scope="module")
def features(classifier: AudioClassifier) -> Tensor:
    return classifier.features(classifier.spectrogram(noise(2)))


def masks(name: str, classifier: AudioClassifier) -> Tensor:
    return find(name)(classifier).on("features").masks(classifier.spectrogram(noise(2)), TARGET)


def gradient(classifier: AudioClassifier, features: Tensor) -> Tensor:
    features = features.detach().requires_grad_()
    logits = classifier.logits(features).gather(1, TARGET[:, None]).sum()
    return torch.autograd.grad(logits, features)[0]


def scaled(values: Tensor) -> Tensor:
    return values.abs() / values.abs().amax((1, 2), keepdim=True)


def test_saliency_and_input_x_gradient(classifier: AudioClassifier, features: Tensor) -> None:
    slope = gradient(classifier, features)
    assert torch.allclose(masks("saliency", classifier), scaled(slope), atol=1e-4)
    assert torch.allclose(masks("input-x-gradient", classifier), scaled(slope * features), atol=1e-4)


def test_stft_masks_are_gradients_of_the_magnitude(classifier: AudioClassifier) -> None:
    stft = classifier.spectrogram(noise(2))
    magnitude = stft.abs().requires_grad_()
    logits = classifier.logits(classifier.features(magnitude)).gather(1, TARGET[:, None]).sum()
    slope = torch.autograd.grad(logits, magnitude)[0]
    assert torch.allclose(find("saliency")(classifier).masks(stft, TARGET), scaled(slope), atol=1e-4)
    # On the log1p scale, d/dlog1p(m) = (1 + m) d/dm.
    log = find("saliency")(classifier).on("stft", "log1p").masks(stft, TARGET)
    assert torch.allclose(log, scaled(slope * (1 + stft.abs())), atol=1e-4)


def test_integrated_gradients_by_a_plain_sum(classifier: AudioClassifier, features: Tensor) -> None:
    steps = (torch.arange(200) + 0.5) / 200
    total = sum(gradient(classifier, features * step) for step in steps) / 200 * features
    found = masks("integrated-gradients", classifier)
    assert torch.nn.functional.cosine_similarity(found.flatten(1), scaled(total).flatten(1)).min() > 0.99


def test_integrated_gradients_are_complete(classifier: AudioClassifier, features: Tensor) -> None:
    method = find("integrated-gradients")(classifier).on("features")
    peak = features.amax((1, 2), keepdim=True).detach()
    canvas = Canvas(classifier, "features", "magnitude")
    found = method.attribute(canvas, Picture(features.detach() / peak, (peak,)), TARGET).sum((1, 2))
    fall = classifier.logits(features) - classifier.logits(torch.zeros_like(features))
    assert torch.allclose(found, fall.gather(1, TARGET[:, None])[:, 0], atol=0.02)


class Step(Cue):
    """The logit is the sum of relu(x - 1/2), whose gradient is 0 or 1."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.relu(features[:, None] - 0.5)
        total = maps.sum((1, 2, 3))
        return torch.stack([total, -total, total], 1), [maps]


def test_smoothgrad_draws_fresh_noise_for_every_sample() -> None:
    # The mean gradient is the chance that a bin's noise lifts it above 1/2; of one draw it is 0 or 1.
    step = Step().eval()
    picture = Picture(torch.full((1, 65, 32), 0.4), (torch.ones(1, 1, 1),))
    method = find("smoothgrad")(step).on("features")
    found = method.attribute(Canvas(step, "features", "magnitude"), picture, torch.tensor([0]))
    above = 0.5 * math.erfc((0.5 - 0.4) / 0.15 / math.sqrt(2))
    assert found.mean().item() == pytest.approx(above, abs=0.01)
    assert found.std().item() == pytest.approx(math.sqrt(above * (1 - above) / 50), rel=0.1)


def test_gradcam_is_captums(classifier: AudioClassifier) -> None:
    stft = classifier.spectrogram(noise(1).repeat(1, 6))  # long enough for a map of several places
    features = classifier.features(stft)
    layer = captum.attr.LayerGradCam(classifier.logits, classifier.blocks[-1])
    shown = 0
    for target in torch.arange(3).split(1):
        cam = layer.attribute(features, target, relu_attributions=True).detach()
        shown += bool(cam.any())
        wanted = nn.functional.interpolate(cam, features.shape[1:], mode="bilinear")[:, 0]
        found = find("gradcam")(classifier).on("features").masks(stft, target)
        assert torch.allclose(found, wanted / wanted.max().clamp_min(1e-12), atol=1e-4)
    assert shown


def test_linear_bins_look_up_gradcam_at_their_own_band() -> None:
    # Class maps of the toy lie in its rows; on the STFT they must lie at the same frequencies.
    cue = Cue().eval()
    found = find("gradcam")(cue).masks(cue.spectrogram(noise(1)), torch.tensor([1]))
    start, stop = Cue.ROWS[1]
    assert found[:, start:stop].mean() > 0.1
    assert found[:, : start - 2].max() == 0


def test_gradcam_plus_plus_weights_by_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, slope = torch.randn(2, 1, 2, 3, 4, generator=generator).unbind(0)
    for channel in range(2):
        wanted = 0.0
        for place in range(12):
            g = slope[0, channel].flatten()[place].item()
            divisor = 2 * g**2 + maps[0, channel].sum().item() * g**3
            wanted += g**2 / divisor * max(g, 0)
        assert place_weights(maps, slope)[0, channel].item() == pytest.approx(wanted, rel=1e-3)


def test_guided_backprop_drops_what_speaks_against(classifier: AudioClassifier, features: Tensor) -> None:
    handles = [
        module.register_full_backward_hook(lambda _, gradients, __: (gradients[0].relu(),))
        for module in classifier.modules()
        if isinstance(module, nn.ReLU)
    ]
    wanted = gradient(classifier, features)
    for handle in handles:
        handle.remove()
    found = masks("guided-backprop", classifier)
    assert torch.allclose(found, scaled(wanted), atol=1e-4)
    assert not torch.allclose(found, masks("saliency", classifier), atol=1e-2)


@pytest.mark.parametrize("name", ["guided-backprop", "guided-gradcam", "deeplift-shap"])
def test_a_hook_that_finds_nothing_says_so(name: str) -> None:
    functional = Functional().eval()
    with pytest.raises(ModelError, match=f"{name} can hook 0 of the 1 ReLUs of Functional"):
        find(name)(functional).masks(functional.spectrogram(noise(1)), torch.tensor([0]))


def test_half_the_hooks_are_not_enough() -> None:
    class Half(Cue):
        def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
            return super().representations(torch.relu(features - 0.1))

    half = Half().eval()
    with pytest.raises(ModelError, match="can hook 1 of the 2 ReLUs"):
        find("guided-backprop")(half).masks(half.spectrogram(noise(1)), torch.tensor([0]))


@pytest.mark.parametrize("name", ["gradient-shap", "deeplift-shap"])
def test_shapley_values_add_up_for_a_linear_network(name: str) -> None:
    # The toy is linear where sounds are positive: Shapley values are weight × (input − mean baseline).
    cue = Cue().eval()
    inputs = 0.5 + 0.5 * torch.rand(1, 65, 32, generator=torch.Generator().manual_seed(0))
    canvas = Canvas(cue, "features", "magnitude")
    picture = Picture(inputs, (torch.ones(1, 1, 1),))
    torch.manual_seed(0)
    found = find(name)(cue).on("features").attribute(canvas, picture, torch.tensor([0]))
    start, stop = Cue.ROWS[0]
    weight = 1 / (65 * 32)
    assert found[:, :start].abs().max() == 0
    assert found[:, stop:].abs().max() == 0
    kept = found[:, start:stop] / weight
    assert torch.allclose(kept, inputs[:, start:stop] - 0.05, atol=0.051)


def test_occlusion_by_loops() -> None:
    cue = Cue().eval()
    features = cue.features(cue.spectrogram(noise(1)))
    rows, frames = -(-features.shape[1] // 8), -(-features.shape[2] // 8)
    wanted = torch.zeros_like(features)
    for row in range(0, features.shape[1], rows):
        for frame in range(0, features.shape[2], frames):
            silenced = features.clone()
            silenced[:, row : row + rows, frame : frame + frames] = 0
            fall = (cue.logits(features) - cue.logits(silenced))[0, 0]
            wanted[:, row : row + rows, frame : frame + frames] = fall.detach()
    found = find("occlusion")(cue).on("features").masks(cue.spectrogram(noise(1)), torch.tensor([0]))
    assert torch.allclose(found, scaled(wanted), atol=1e-3)
