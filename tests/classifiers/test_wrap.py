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
from earmark.evaluation.protocol import Sounds
from earmark.evaluation.runner import Said, hear_sounds, score_masks
from earmark.explainers.base import find
from earmark.explainers.lmac.explainer import Lmac
from earmark.features.front_ends import LogMel, Mfcc
from earmark.features.spectrogram import SpectrogramConfig
from explainers.networks import CONFIG, WRAPPED, Patches, Recurrent, conv1d, image, noise, wrapped

RATE = 8000
LIBROSA = SpectrogramConfig(
    sample_rate=RATE, n_fft=512, win_length=512, hop_length=128, window="hann", pad="reflect"
)


def small(*before: nn.Module, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 4, 16, 8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, classes)
    return nn.Sequential(*before, *layers)


def settings(**changes: object) -> dict:
    if "takes" in changes:
        changes = {"spectrogram": SpectrogramConfig.at(RATE)} | changes
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
                takes=LogMel(24, log=which, floor=1e-3), spectrogram=CONFIG)
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
        (lambda x: x.sigmoid(), "gives probabilities: its last step is Sigmoid; expected logits"),
        (lambda x: x - x.mean(0), "two answers to one sound, .* apart, alone and beside another"),
        (lambda x: x[:, :1], "one output is one yes or no: pass one label and multi_label=True"),
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
        ({"labels": ("a",)}, "'a' is the only label, so it would always have the probability 1"),
        ({"labels": 3}, "labels is 3"),
        ({"layers": ["4"]}, r"module '4' gives \(batch, 3\); expected something over time"),
        ({"layers": {"aside": "bct"}}, "no module 'aside'"),
        ({"sample_rate": "8k"}, "sample_rate is '8k'"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"seconds": "1"}, "seconds is '1'"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"spectrogram": "hann"}, "spectrogram is 'hann'"),
        ({"takes": "power", "spectrogram": None}, "spectrogram is missing: what is not a waveform"),
        ({"bands": "mel"}, "bands is 'mel'"),
        ({"takes": lambda stft: 1 / 0}, "front end cannot take spectra of shape .* division by zero"),
        ({"takes": LogMel(512), "layout": "bft"}, "512 bands up to 4000 Hz; expected at most 257"),
        ({"takes": LogMel(f_max=5000), "layout": "bft"}, "64 bands up to 5000 Hz"),
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
        (torch.jit.script(small()), "TorchScript module"),
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(log="log2"), "log is 'log2'; expected one of 'db'"),
        (lambda: LogMel(scale="mel"), "scale is 'mel'"),
        (lambda: LogMel(f_min=300, f_max=200), "bands go from 300 to 200 Hz"),
        (lambda: LogMel(power=0), "power is 0"),
        (lambda: Mfcc(40, LogMel(20)), "n_mfcc is 40; expected 1 … 20"),
    ],
)
def test_a_front_end_that_cannot_be(make, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()


def test_a_network_without_maps_is_explained_by_what_needs_none() -> None:
    torch.manual_seed(0)
    classifier = wrap(nn.Sequential(nn.Flatten(), nn.Linear(4000, 3)), **settings())
    stft, target = classifier.spectrogram(torch.randn(1, 4000)), torch.tensor([0])
    assert find("saliency")(classifier).masks(stft, target).max() == 1
    with pytest.raises(ModelError, match="class activation maps need a feature map"):
        find("gradcam")(classifier).masks(stft, target)
    with pytest.raises(ModelError, match="lmac needs a feature map"):
        Lmac(classifier)


def test_a_compiled_network_is_taken_apart() -> None:
    network = small()
    assert wrap(torch.compile(network), **settings()).network is network


def test_nothing_puts_the_network_in_training_mode() -> None:
    network = small(nn.BatchNorm1d(1), nn.Dropout(0.5))
    classifier = wrap(network, **settings())
    Lmac(classifier)
    assert not any(module.training for module in classifier.modules())


class Shifts(nn.Module):
    """Takes the mean away from what it is given, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def forward(self, sound: Tensor) -> Tensor:
        sound -= 0.5
        return self.inner(sound)


def test_what_the_network_does_to_its_input_reaches_nobody() -> None:
    classifier = wrap(Shifts(), **settings())
    stft = classifier.spectrogram(torch.randn(1, 4000))
    assert torch.equal(classifier.hear(stft).features, classifier.features(stft))
    assert find("saliency")(classifier).masks(stft, torch.tensor([0])).max() == 1


def test_weight_norm_can_be_frozen_after_a_pass_with_gradients() -> None:
    network = small()
    nn.utils.weight_norm(network[0])
    classifier = wrap(network, **settings())
    sound = torch.randn(1, 4000)
    said = classifier(sound)
    assert torch.allclose(classifier.frozen()(sound), said)


class Pictures(nn.Module):
    """Makes a spectrogram of its own, (time, frequency), and sums its loud places; for one length alone."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))
        self.picture = nn.ReLU()
        self.head = nn.Linear(63 * 65, 3)

    def forward(self, sound: Tensor) -> Tensor:
        spectrum = torch.stft(sound, 128, 64, window=self.window, return_complex=True).abs()
        picture = self.picture(spectrum.transpose(1, 2)[:, None] - 1)
        return self.head(picture.flatten(1)) + picture.mean((2, 3))


@pytest.mark.parametrize("bands", ["linear", LogMel(40, scale="htk"), None])
def test_maps_of_a_picture_of_its_own_lie_where_they_were_said_to(bands) -> None:
    classifier = wrap(Pictures(), **settings(layout="bt", bands=bands))
    # For one length alone, the time axis shows by what a change in the second half changes.
    assert classifier.layers == {"picture": "bctf"}
    tone = torch.sin(2 * torch.pi * 3000 * torch.arange(4000) / RATE)
    tone[2000:] = 0
    mask = find("gradcam")(classifier).masks(classifier.spectrogram(tone[None]), torch.tensor([0]))[0]
    assert mask[:, :20].sum() > 5 * mask[:, -15:].sum()
    at = float(classifier.spectrogram.frequencies()[mask.sum(1).argmax()])
    if bands is None:
        assert (mask - mask[:1]).abs().max() < 1e-6
    else:
        # As mel bands, the same rows are other frequencies.
        assert (abs(at - 3000) < 100) == (bands == "linear")


def test_masks_of_features_leave_silence_not_zero_decibels() -> None:
    classifier = wrapped(
        nn.Sequential(nn.Conv1d(24, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        takes=LogMel(24),
        spectrogram=CONFIG,
    )
    assert torch.allclose(classifier.silence(), torch.tensor(-100.0))
    sounds = Sounds(0.01 * noise(), torch.zeros_like(noise()), torch.zeros(3).long(), torch.arange(3))
    scene = hear_sounds(classifier, sounds)
    explainer = find("all-ones")(classifier).on("features")
    scores = score_masks(explainer, scene, explainer.masks(scene.stft, scene.target, scene.heard))
    assert torch.allclose(scores["FF"], scores["FF all"], atol=1e-5)


def test_an_evaluation_plays_sounds_at_their_own_level() -> None:
    class Loudness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.square = nn.Identity()

        def forward(self, sound: Tensor) -> Tensor:
            power = self.square(sound.square()).mean(1)
            return torch.stack([power - 0.01, 0.01 - power], 1)

    classifier = wrap(Loudness(), sample_rate=4000, labels=("loud", "quiet"), seconds=0.5)
    waveform = torch.tensor([[0.5], [0.01]]) * noise(2)
    scene = hear_sounds(classifier, Sounds(waveform, 0 * waveform, torch.arange(2), torch.arange(2)))
    assert scene.target.tolist() == [0, 1]


def test_fid_in_of_several_labels_asks_for_the_most_probable_one() -> None:
    classifier = wrap(small(), **settings(multi_label=True))
    whole, kept = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-3.0, -2.0, -3.0]])
    said = Said(classifier, whole, kept, whole, torch.tensor([0]))
    scores = said.scores(torch.rand(1, 4, 4))
    assert scores["Fid-In"].item() == 0
    assert scores["p"].item() == pytest.approx(torch.sigmoid(torch.tensor(-1.0)).item())
