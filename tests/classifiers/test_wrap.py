"""Anyone's network as a classifier: it says what the network says, and what is wrong is told in one line."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earmark.classifiers.layers import Layer, choose
from earmark.classifiers.taps import Tokens
from earmark.classifiers.wrap import list_layers, wrap
from earmark.errors import ModelError
from earmark.explainers.base import find
from earmark.explainers.lmac.explainer import Lmac
from earmark.features.front_ends import LogMel, Mfcc
from earmark.features.spectrogram import SpectrogramConfig
from explainers.networks import WRAPPED, Patches, Recurrent, conv1d, image, noise, wrapped

RATE = 8000
LIBROSA = SpectrogramConfig(
    sample_rate=RATE, n_fft=512, win_length=512, hop_length=128, window="hann", pad="reflect"
)


def small(*before: nn.Module, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 4, 16, 8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, classes)
    return nn.Sequential(*before, *layers)


def settings(**changes: object) -> dict:
    return {"sample_rate": RATE, "labels": ("a", "b", "c"), "seconds": 0.5, "layout": "b1t"} | changes


def test_a_network_of_waveforms_says_the_same_as_on_its_own() -> None:
    network = small()
    classifier = wrap(network, **settings())
    for samples in (4000, 3999, 4001, 4100, 2000):
        sound = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(1))
        alone = network(sound[:, None])
        # Only up to its last whole frame is a sound of another length heard.
        assert torch.allclose(classifier(sound), alone, atol=1e-5 if samples == 4000 else 3e-3)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_log_mel_is_librosas(power: float) -> None:
    sound = 0.3 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    takes = LogMel(40, f_min=50, f_max=3800, power=power)
    classifier = wrap(nn.Sequential(nn.Conv1d(40, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
                      **settings(takes=takes, layout="bft", spectrogram=LIBROSA))  # fmt: skip
    mel = librosa.feature.melspectrogram(
        y=sound[0].numpy(), sr=RATE, n_fft=512, hop_length=128, n_mels=40, fmin=50, fmax=3800,
        power=power, pad_mode="reflect",
    )  # fmt: skip
    expected = librosa.power_to_db(mel, amin=1e-10, top_db=None)
    found = classifier.features(classifier.spectrogram(sound))[0].numpy()
    assert np.abs(found - expected).max() < 1e-3


def test_mfcc_is_librosas() -> None:
    sound = 0.3 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    takes = Mfcc(13, LogMel(40, top_db=80))
    classifier = wrap(Recurrent13(), **settings(takes=takes, layout="btf", spectrogram=LIBROSA))
    expected = librosa.feature.mfcc(
        y=sound[0].numpy(), sr=RATE, n_mfcc=13, n_fft=512, hop_length=128, n_mels=40, pad_mode="reflect"
    )
    found = classifier.features(classifier.spectrogram(sound))[0].numpy()
    assert np.abs(found - expected).max() < 2e-3


class Recurrent13(Recurrent):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(13, 8, batch_first=True, bidirectional=True)


@pytest.mark.parametrize("log", ["ln", "log10", "log1p", "none"])
def test_logarithms_of_a_mel_spectrogram(log: str) -> None:
    plain, logged = (
        wrapped(nn.Sequential(nn.Conv1d(24, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
                takes=LogMel(24, log=which, floor=1e-3))
        for which in ("none", log)
    )  # fmt: skip
    stft = plain.spectrogram(noise())
    expected = {
        "ln": lambda x: x.clamp_min(1e-3).log(),
        "log10": lambda x: x.clamp_min(1e-3).log10(),
        "log1p": lambda x: (1 + x).log(),
        "none": lambda x: x,
    }[log](plain.features(stft))
    assert torch.allclose(logged.features(stft), expected, atol=1e-6)


@pytest.mark.parametrize("kind", WRAPPED)
def test_maps_are_on_the_way_to_the_logits_and_change_nothing(kind: str) -> None:
    classifier = WRAPPED[kind]()
    features = classifier.features(classifier.spectrogram(noise())).detach().requires_grad_()
    logits, maps = classifier.representations(features)
    assert torch.equal(logits, classifier.logits(features))
    for gradient, inner in zip(torch.autograd.grad(logits[:, 0].sum(), maps), maps):
        assert inner.ndim == 4
        assert gradient.abs().sum() > 0


def test_layers_are_chosen_by_stage_and_by_block() -> None:
    assert list(conv1d().layers.items()) == [("1", "bct"), ("3", "bct")]
    # The last block gives the class token alone to the logits: its patches count for nothing.
    grid = Tokens(3, 4, skip=1)
    assert wrapped_patches().layers == {"patch": "bcft", "blocks.0": grid, "blocks.1": grid}
    assert list(image().layers.values()) == ["bctf"] * 3


def wrapped_patches():
    torch.manual_seed(0)
    config = SpectrogramConfig(sample_rate=4000, n_fft=128, win_length=128, hop_length=64)
    return wrapped(Patches(), takes=LogMel(24, log="log1p"), layout="b1ft", spectrogram=config)


def test_blocks_are_spread_evenly() -> None:
    def layer(name: str) -> Layer:
        return Layer(name, "Block", (50, 16), "btc", True)

    layers = [
        part for block in range(12) for part in (layer(f"blocks.{block}.mlp"), layer(f"blocks.{block}"))
    ]
    assert [chosen.name for chosen in choose(layers)] == [f"blocks.{block}" for block in (2, 5, 8, 11)]


def test_layers_are_listed_and_can_be_named() -> None:
    classifier = wrap(small(), **settings(layers=["0"]))
    assert [(it.name, it.layout, it.chosen) for it in list_layers(classifier)][:3] == [
        ("0", "bct", True), ("1", "bct", False), ("2", "bct", False),
    ]  # fmt: skip
    assert list(wrap(small(), **settings(layers={"1": "bct"})).layers) == ["1"]


def test_the_network_is_the_users_own() -> None:
    network = small(nn.Dropout(0.5)).train()
    classifier = wrap(network, **settings())
    assert classifier.network is network
    assert not network.training


class Gives(nn.Module):
    """Gives whatever a function makes of the logits."""

    def __init__(self, change) -> None:
        super().__init__()
        self.inner, self.change = small(), change

    def forward(self, sound: Tensor):
        return self.change(self.inner(sound))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x, 1), r"Gives gives a tuple of 2; expected logits of shape \(2, 3\).*output="),
        (lambda x: {"clipwise": x}, r"gives a dict with 'clipwise'; expected logits.*output="),
        (lambda x: x[:, None], r"gives a tensor of shape \(2, 1, 3\); expected logits of shape \(2, 3\)"),
        (lambda x: x[:, :2], r"gives a tensor of shape \(2, 2\).*as many labels"),
        (lambda x: x.argmax(1), r"gives a tensor of shape \(2,\) and type int64"),
        (lambda x: x.softmax(1), "gives probabilities: they sum to one; expected logits"),
        (lambda x: nn.functional.dropout(x, 0.5), "two answers to one sound, .* apart, in evaluation mode"),
        (lambda x: x / 0, "no finite numbers for noise"),
    ],
)
def test_a_network_that_gives_something_else(change, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(Gives(change), **settings())


@pytest.mark.parametrize(
    ("change", "output"), [(lambda x: (x, 1), 0), (lambda x: {"clip": x}, "clip")], ids=["tuple", "dict"]
)
def test_the_part_with_the_logits_can_be_named(change, output: str | int) -> None:
    classifier = wrap(Gives(change), **settings(output=output))
    assert classifier(torch.randn(2, 4000)).shape == (2, 3)
    with pytest.raises(ModelError, match=r"expected something with 7"):
        wrap(Gives(change), **settings(output=7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ["1x"]}, r"no module '1x'; expected a name such as '1'"),
        ({"layers": {"1": "bcft"}}, r"module '1' gives \(2, 4, 499\); expected 4 axes"),
        ({"layers": {"1": "tcb"}}, r"layout of '1' is 'tcb'; expected one of bcft"),
        ({"layers": {"1": Tokens(2, 3)}}, r"module '1' gives \(2, 4, 499\); expected \(batch, 6, channels\)"),
        ({"layout": "bt"}, r"cannot take a tensor of shape \(2, 4000\) \(0.5 s\)"),
        ({"layout": "tb"}, "layout is 'tb'"),
        ({"layout": "bxt"}, "layout is 'bxt'"),
        ({"takes": "magnitude"}, r"layout 'b1t' has no 'f', and the features are \(2, 257, 44\)"),
        ({"takes": "sound"}, "takes is 'sound'; expected 'waveform'"),
        ({"takes": lambda stft: stft}, r"front end gives a tensor of shape .* type complex64; expected real"),
        ({"labels": "abc"}, "labels is 'abc'"),
        ({"labels": ("a", "b", "a")}, "'a' is there more than once"),
        ({"labels": ("a", "b")}, "as many labels as"),
        ({"seconds": 0.001}, "seconds is 0.001"),
        ({"spectrogram": SpectrogramConfig()}, "sample_rate is 8000 and the spectrogram's 16000"),
    ],
)
def test_settings_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(small(), **settings(**changes))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (small().double(), "0.weight of the network is float64; expected float32"),
        (small().half(), "0.weight of the network is float16"),
        (small().to("meta"), "the network is on meta"),
        (nn.Sequential(small()[0].to("meta"), small()[1:]), "on cpu and meta; expected one device"),
        ("net", "the network is a str"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4000, 3)), "no inner module of Sequential gives something"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_explained(network: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        wrap(network, **settings())


class Detached(nn.Module):
    """Leaves torch for its front end."""

    def __init__(self, through_numpy: bool) -> None:
        super().__init__()
        self.inner, self.through_numpy = small(), through_numpy

    def forward(self, sound: Tensor) -> Tensor:
        # As a tensor that needs a gradient, the first fails, the second goes on without.
        sound = torch.from_numpy(sound.numpy()) if self.through_numpy else sound.detach()
        return self.inner(sound)


@pytest.mark.parametrize("through_numpy", [False, True])
@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "gradcam", "smoothgrad"])
def test_a_front_end_without_gradients_is_named_and_others_still_work(
    method: str, through_numpy: bool
) -> None:
    classifier = wrap(Detached(through_numpy), **settings(layers=["inner.1"]))
    stft, target = classifier.spectrogram(torch.randn(1, 4000)), torch.tensor([0])
    if method == "gradcam" and not through_numpy:
        return  # it needs the gradient of the maps alone
    with pytest.raises(ModelError, match=rf"{method} needs gradients, and Detached lets none through"):
        find(method)(classifier).masks(stft, target)
    for other in (find("occlusion")(classifier), Lmac(classifier)):
        assert other.masks(stft, target).shape == stft.shape


def test_labels_that_may_hold_at_once_are_each_a_question_of_its_own() -> None:
    classifier = wrap(small(), **settings(multi_label=True))
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    assert torch.allclose(classifier.probabilities(logits), torch.sigmoid(logits))
    asked, index = classifier.question(logits, torch.tensor([2]))
    assert asked.softmax(1).gather(1, index[:, None]).item() == pytest.approx(torch.sigmoid(logits)[0, 2])
