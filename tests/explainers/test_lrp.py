"""Layer-wise relevance propagation: conservation, and its rules worked out by loops."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.classifiers.base import AudioClassifier
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.explainers.attribution import Canvas, Picture
from earmark.explainers.base import find
from earmark.explainers.lrp import to_bins
from earmark.features.front_ends import LogMel
from explainers.networks import CONFIG, RATE, Cue, cnn14, noise
from explainers.zennit_alone import import_zennit


@pytest.fixture
def zennit() -> None:
    import_zennit()


def wrapped(network: nn.Module, **settings: object) -> AudioClassifier:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.1, 0.3)
    settings = {"takes": "magnitude", "layout": "b1ft", "spectrogram": CONFIG, **settings}
    return wrap(network.eval(), sample_rate=RATE, labels=("a", "b", "c"), seconds=0.5, **settings)


def relevance(classifier: AudioClassifier, target: int, domain: str = "features") -> tuple[Tensor, Tensor]:
    """Return relevance, with what speaks against, and the logit."""
    features = classifier.features(classifier.spectrogram(noise(1))).detach()
    method = find("lrp")(classifier).on(domain)
    found = []
    for sign in (1, -1):  # it drops what speaks against: that speaks for the negative logit
        flipped = Flipped(classifier, sign)
        picture = Picture(features, (torch.ones(1, 1, 1),))
        method.classifier = flipped
        found.append(method.attribute(Canvas(flipped, domain, "magnitude"), picture, torch.tensor([target])))
    return found[0] - found[1], classifier.logits(features)[0, target].detach()


class Flipped(AudioClassifier):
    """The same logits times a sign."""

    hears_phase = False

    def __init__(self, classifier: AudioClassifier, sign: float) -> None:
        super().__init__(classifier.spectrogram, classifier.labels, classifier.seconds)
        self.inner, self.sign = classifier, sign

    def features(self, stft: Tensor) -> Tensor:
        return self.inner.features(stft)

    def bands_to_bins(self) -> Tensor:
        return self.inner.bands_to_bins()

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, maps = self.inner.representations(features)
        return self.sign * logits, maps


class Linears(nn.Module):
    """Two linear layers without biases, and a functional ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(65 * 32, 5, bias=False)
        self.second = nn.Linear(5, 3, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        return self.second(F.relu(self.first(picture.flatten(1))))


class Residual(nn.Module):
    """Convolutions with batch-norms, a shortcut, and pools of both kinds, without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, bias=False)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.third = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(8, 3, bias=False)

    def forward(self, picture: Tensor) -> Tensor:
        maps = F.relu(self.first(picture))
        maps = F.max_pool2d(F.relu(maps + self.third(F.relu(self.second(maps)))), 2)
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))


@pytest.mark.usefixtures("zennit")
def test_two_linear_layers_by_loops() -> None:
    network = Linears()
    classifier = wrapped(network)
    found, _ = relevance(classifier, 1)
    features = classifier.features(classifier.spectrogram(noise(1)))[0].flatten().tolist()
    first, second = network.first.weight.detach().double(), network.second.weight.detach().double()
    hidden = [sum(w * x for w, x in zip(row, features)) for row in first.tolist()]
    wanted = [0.0] * len(features)
    for unit, value in enumerate(hidden):
        share = second[1, unit].item() * max(value, 0)
        for place, x in enumerate(features):
            wanted[place] += share * first[unit, place].item() * x / value
    assert torch.allclose(found.flatten(), torch.tensor(wanted), atol=1e-4 * max(wanted))


@pytest.mark.usefixtures("zennit")
@pytest.mark.parametrize("network", [Linears, Residual])
def test_the_relevance_sums_up_to_the_logit(network: type[nn.Module]) -> None:
    classifier = wrapped(network())
    for target in range(3):
        found, logit = relevance(classifier, target)
        assert found.abs().sum() > 0
        assert found.sum().item() == pytest.approx(logit.item(), rel=1e-3)


@pytest.mark.usefixtures("zennit")
def test_the_second_convolution_shares_by_positive_parts() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, (65, 32), bias=False), nn.Flatten(), nn.Linear(1, 3)
    )
    classifier = wrapped(network)
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[3].bias.zero_()
    found, logit = relevance(classifier, 0)
    positive = (classifier.features(classifier.spectrogram(noise(1)))[0] * network[1].weight[0, 0]).relu()
    assert torch.allclose(found[0], logit * positive / positive.sum(), atol=1e-4 * logit.abs().item())


@pytest.mark.usefixtures("zennit")
def test_a_batch_norm_is_merged_with_the_convolution_before_it() -> None:
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    torch.manual_seed(1)
    network = nn.Sequential(*layers, *ends)
    classifier = wrapped(network)
    with torch.no_grad():
        layers[3].running_mean.normal_()
        layers[3].running_var.uniform_(0.5, 2)
    found = [relevance(classifier, target)[0] for target in range(3)]
    folded = nn.utils.fuse_conv_bn_eval(layers[2], layers[3])
    torch.manual_seed(1)
    alone = wrap(
        nn.Sequential(*layers[:2], folded, layers[4], *ends),
        sample_rate=RATE,
        labels=("a", "b", "c"),
        seconds=0.5,
        takes="magnitude",
        layout="b1ft",
        spectrogram=CONFIG,
    )
    for target in range(3):
        wanted, _ = relevance(alone, target)
        assert wanted.abs().max() > 0
        assert torch.allclose(found[target], wanted, atol=1e-4 * wanted.abs().max().item())


def test_bins_get_the_relevance_of_their_bands_by_their_part_of_them() -> None:
    bands = LogMel(24, power=1, log="log1p")
    classifier = wrapped(Linears24(), takes=bands)
    stft = classifier.spectrogram(noise(1)).abs()
    picture = Picture(stft, (torch.ones(1, 1, 1),))
    relevance = torch.rand(1, 24, stft.shape[2], generator=torch.Generator().manual_seed(0))
    found = to_bins(Canvas(classifier, "stft", "magnitude"), picture, relevance)
    bank = classifier.front_end.mel.bank
    wanted = stft * (bank.T @ (relevance / (bank @ stft)))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert found.sum().item() == pytest.approx(relevance.sum().item(), rel=1e-3)


class Linears24(Linears):
    """The same for 24 bands."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24 * 32, 5, bias=False)


@pytest.mark.usefixtures("zennit")
def test_weights_and_hooks_stay_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = cnn14().eval()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    def fail(*_: object, **__: object) -> None:
        raise ArithmeticError("on purpose")

    stft = classifier.spectrogram(noise(1))
    monkeypatch.setattr(torch.autograd, "grad", fail)
    with pytest.raises(ArithmeticError, match="on purpose"):
        find("lrp")(classifier).on("features").masks(stft, torch.tensor([0]))
    after = classifier.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in classifier.modules())


@pytest.mark.usefixtures("zennit")
def test_silence_has_no_relevance() -> None:
    cue = Cue().eval()
    found = find("lrp")(cue).masks(cue.spectrogram(torch.zeros(1, RATE // 2)), torch.tensor([0]))
    assert not found.any()


@pytest.mark.usefixtures("zennit")
@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("Gelu", lambda maps: F.gelu(maps)),
        ("Sigmoid", lambda maps: maps.sigmoid()),
        ("Mul of two things that it computed", lambda maps: maps * maps),
        ("NativeLayerNorm", lambda maps: F.layer_norm(maps, maps.shape[1:])),
    ],
)
def test_what_has_no_rule_is_named(what: str, step: object) -> None:
    class Odd(Residual):
        def forward(self, picture: Tensor) -> Tensor:
            return super().forward(step(picture))

    classifier = wrapped(Odd())
    with pytest.raises(ModelError, match=f"lrp has no rule for {what} in Odd; expected convolutions"):
        find("lrp")(classifier).masks(classifier.spectrogram(noise(1)), torch.tensor([0]))


def test_without_zennit_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zennit", None)
    cue = Cue().eval()
    with pytest.raises(
        ModelError, match=r"lrp needs zennit, which is not installed; pip install 'earmark\[lrp\]'"
    ):
        find("lrp")(cue).masks(cue.spectrogram(noise(1)), torch.tensor([0]))
