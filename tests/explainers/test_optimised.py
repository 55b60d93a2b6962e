"""Masks and weights that are sought by gradient descent, on networks whose best mask is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.explainers import opti_cam, optimised_mask
from earmark.explainers.attribution import Canvas, Picture
from earmark.explainers.base import find
from earmark.explainers.opti_cam import weighted
from earmark.explainers.optimised_mask import stake, unfaithfulness
from explainers.networks import CONFIG, RATE, Cue, many_labels, noise

METHODS = ("optimised-mask", "opti-cam")


def features_of(clips: int = 2) -> tuple[Canvas, Picture, Tensor]:
    """Return noises as a picture of the toy's features, as `Attribution` makes it."""
    cue = Cue().eval()
    features = cue.features(cue.spectrogram(noise(clips)))
    peak = features.amax((1, 2), keepdim=True)
    return Canvas(cue, "features", "magnitude"), Picture(features / peak, (peak,)), torch.arange(clips) % 2


def test_unfaithfulness_by_probabilities() -> None:
    canvas, picture, target = features_of()
    mask = torch.rand(picture.inputs.shape, generator=torch.Generator().manual_seed(0))
    found = unfaithfulness(canvas, picture, target, mask)
    for clip, label in enumerate(target.tolist()):
        whole = picture.inputs[clip] * picture.extra[0][clip]
        kept, rest = (
            canvas.classifier.logits((part * whole)[None]).softmax(1)[0, label].item()
            for part in (mask[clip], 1 - mask[clip])
        )
        assert found[clip].item() == pytest.approx(-math.log(kept) - math.log(1 - rest), rel=1e-4)


def test_unfaithfulness_of_one_of_many_labels_is_that_of_its_own_yes_or_no() -> None:
    network = many_labels().eval()
    features = network.features(network.spectrogram(noise(1)))
    picture = Picture(features, (torch.ones(1, 1, 1),))
    canvas = Canvas(network, "features", "magnitude")
    yes, nothing = (network.logits(values).sigmoid()[0, 2].item() for values in (features, 0 * features))
    found = unfaithfulness(canvas, picture, torch.tensor([2]), torch.ones_like(features))
    assert found.item() == pytest.approx(-math.log(yes) - math.log(1 - nothing), rel=1e-4)


def test_the_stake_is_what_all_is_better_than_nothing() -> None:
    canvas, picture, target = features_of()
    of = [unfaithfulness(canvas, picture, target, torch.full_like(picture.inputs, one)) for one in (0, 1)]
    assert torch.allclose(stake(canvas, picture, target), (of[0] - of[1]).abs())


def test_an_optimised_mask_beats_every_rectangle_of_its_rows() -> None:
    # Of these masks the best is known: the cue's rows. The one that is found must cost next to no more.
    canvas, picture, target = features_of(1)
    price = stake(canvas, picture, target)

    def cost(mask: Tensor) -> float:
        return (unfaithfulness(canvas, picture, target, mask) + price * mask.mean()).item()

    found = cost(find("optimised-mask")(canvas.classifier).attribute(canvas, picture, target))
    costs: dict[int, float] = {}
    for start in range(0, 64, 8):
        rows = torch.zeros_like(picture.inputs)
        rows[:, start : start + 8] = 1
        costs[start] = cost(rows)
    best, second = sorted(costs, key=lambda start: costs[start])[:2]
    assert best == Cue.ROWS[0][0]
    assert found < costs[best] + 0.02 * (costs[second] - costs[best])


def test_the_area_of_an_optimised_mask_has_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas, picture, target = features_of(1)
    areas = []
    for price in (0.0, 1.0, 10_000.0):
        monkeypatch.setattr(optimised_mask, "AREA", price)
        found = find("optimised-mask")(canvas.classifier).attribute(canvas, picture, target)
        areas.append(found.mean().item())
    assert areas[0] > 0.4
    assert 0.05 < areas[1] < 0.25
    assert areas[2] < 0.01


def test_a_mask_is_no_finer_than_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimised_mask, "CELLS", 2)
    cue = Cue().eval()
    found = find("optimised-mask")(cue).masks(cue.spectrogram(noise(1)), torch.tensor([0]))[0]
    # Between two places it runs straight.
    inner = found[20:45]
    assert found.std() > 0.01
    assert torch.allclose(inner[1:-1], (inner[2:] + inner[:-2]) / 2, atol=1e-5)


def test_opti_cam_by_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opti_cam, "STEPS", 3)
    canvas, picture, target = features_of(1)
    maps = canvas.classifier.representations(canvas.features(picture.inputs, *picture.extra))[1][-1].detach()
    first, second, moment, square = 0.9, 0.999, torch.zeros(2), torch.zeros(2)
    weights = torch.zeros(2)

    def mask_of(weights: Tensor) -> Tensor:
        cam = sum(share * one for share, one in zip(weights.exp() / weights.exp().sum(), maps[0]))
        return (cam - cam.min()) / (cam.max() - cam.min())

    for step in range(1, 4):
        weights.requires_grad_()
        logits = canvas(picture.inputs * mask_of(weights), *picture.extra)
        slope = torch.autograd.grad(-logits.log_softmax(1)[0, 0], weights)[0]
        moment, square = first * moment + (1 - first) * slope, second * square + (1 - second) * slope**2
        size = (square / (1 - second**step)).sqrt() + 1e-8
        weights = (weights - 0.1 * moment / (1 - first**step) / size).detach()
    found = find("opti-cam")(canvas.classifier).attribute(canvas, picture, target)
    assert weights[0] > 0.1
    assert torch.allclose(found[0], mask_of(weights), atol=1e-3)


def test_opti_cam_weighs_the_map_of_the_class_most(monkeypatch: pytest.MonkeyPatch) -> None:
    cue = Cue().eval()
    stft = cue.spectrogram(noise(1))
    ratios = []
    for steps in (0, 100):
        monkeypatch.setattr(opti_cam, "STEPS", steps)
        found = find("opti-cam")(cue).masks(stft, torch.tensor([1]))
        own, other = (found[:, slice(*Cue.ROWS[row])].mean().item() for row in (1, 0))
        ratios.append(own / other)
    assert ratios[0] < 1.5
    assert ratios[1] > 20


def test_weights_are_shares_of_the_maps() -> None:
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(weighted(maps, torch.zeros(2, 3)), maps.mean(1), atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_silence_keeps_nothing(name: str) -> None:
    cue = Cue().eval()
    stft = cue.spectrogram(torch.cat([noise(1), torch.zeros(1, RATE // 2)]))
    found = find(name)(cue).masks(stft, torch.tensor([0, 0]))
    assert found[0].any()
    assert not found[1].any()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("weightless", [True, False])
def test_no_gradients_no_mask(name: str, weightless: bool) -> None:
    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv1d(65, 4, 3)
            self.head = torch.nn.Linear(4, 3)
            self.requires_grad_(not weightless)

        def forward(self, magnitude: Tensor) -> Tensor:
            left_torch = torch.from_numpy(magnitude.detach().numpy().copy())
            return self.head(F.relu(self.layer(left_torch)).mean(2))

    torch.manual_seed(0)
    settings = {"takes": "magnitude", "layers": {"layer": "bct"}, "seconds": 0.5, "spectrogram": CONFIG}
    deaf = wrap(Deaf(), sample_rate=RATE, labels=("a", "b", "c"), **settings)
    with pytest.raises(ModelError, match=rf"{name} needs gradients, and Deaf lets none through"):
        find(name)(deaf).masks(deaf.spectrogram(noise(1)), torch.tensor([0]))


def test_opti_cam_needs_a_map() -> None:
    class Mapless(Cue):
        def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
            return super().representations(features)[0], []

    mapless = Mapless().eval()
    with pytest.raises(ModelError, match="need a feature map, and the classifier has none"):
        find("opti-cam")(mapless).masks(mapless.spectrogram(noise(1)), torch.tensor([0]))


def test_both_take_a_hundred_passes() -> None:
    assert all(find(name).costly for name in METHODS)
