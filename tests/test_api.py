"""Explaining a sound: the physics of the parts, the choice of class, hard masks, and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import earmark
import earmark.api
from earmark.classifiers.base import Heard
from earmark.errors import AudioError, ModelError
from earmark.explainers.base import Explainer, Trained, registered
from earmark.metrics import score
from earmark.model import Model, save_model

LABELS, RATE = ("dog", "rain", "clock"), 16000


def make_sound(seconds: float, channels: int = 1) -> np.ndarray:
    """Make a beep in noise, (samples,) or (channels, samples)."""
    time = np.arange(round(seconds * RATE)) / RATE
    beep = 0.4 * np.sin(2 * np.pi * 1000 * time) * (time > seconds / 2)
    sound = beep + 0.05 * np.random.default_rng(0).standard_normal((channels, len(time)))
    return sound[0] if channels == 1 else sound


class Constant(Explainer):
    """Gives the same mask for every bin."""

    name, summary = "constant", ""

    def __init__(self, model: Model, value: float) -> None:
        super().__init__(model.classifier)
        self.value = value

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        return torch.full(stft.shape, self.value)


class Gradient(Explainer):
    """Needs gradients, as half of all methods do."""

    name, summary = "gradient", ""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        with torch.enable_grad():
            gain = torch.ones(stft.shape, requires_grad=True)
            logits = self.classifier.logits(self.classifier.features(stft * gain))
            (slope,) = torch.autograd.grad(logits[0, target[0]], gain)
        return slope.abs() / slope.abs().max()


class OnFeatures(Constant):
    """Gives masks that cannot be listened to."""

    domain = "features"


def model_with(explainer: Explainer, model: Model) -> Model:
    return Model("stub", model.classifier, {"stub": explainer})


def check_parts(explanation: earmark.Explanation, samples: int) -> None:
    assert explanation.waveform.shape == explanation.listenable.shape == (samples,)
    together = explanation.listenable + explanation.remainder
    assert (together - explanation.waveform).abs().max() < 1e-5


@pytest.mark.parametrize("seconds", [0.05, 0.2371, 1.0, 1.5, 2.3])
def test_parts_add_up_at_every_length(seconds: float, tiny: Model) -> None:
    waveform = make_sound(seconds)
    explanation = earmark.explain((waveform, RATE), tiny)
    check_parts(explanation, len(waveform))
    assert explanation.mask.shape == (513, len(waveform) // 186 + 1)
    assert 0 <= explanation.mask.min() <= explanation.mask.max() <= 1
    torch.testing.assert_close(explanation.waveform, torch.from_numpy(waveform).float())


@pytest.mark.parametrize("seconds", [5.0, 7.3])
def test_parts_add_up_for_a_stereo_file_of_another_rate(
    seconds: float, tiny: Model, sound_file: Callable[..., Path]
) -> None:
    path = sound_file(seconds=seconds, rate=44100, channels=2)
    explanation = earmark.explain(path, tiny, scores=False)
    check_parts(explanation, round(seconds * RATE))
    assert explanation.source == str(path)
    assert explanation.sample_rate == RATE


@pytest.mark.parametrize("seconds", [0.05, 0.61, 1.0, 1.37])
def test_an_all_ones_mask_gives_the_waveform_back(seconds: float, tiny: Model) -> None:
    model = model_with(Constant(tiny, 1.0), tiny)
    explanation = earmark.explain((0.3 * make_sound(seconds), RATE), model, "stub")
    assert (explanation.listenable - explanation.waveform).abs().max() < 1e-5
    assert explanation.remainder.abs().max() < 1e-5
    assert explanation.scores["probability_in"] == pytest.approx(explanation.probability, abs=1e-5)


def test_an_all_zeros_mask_leaves_silence(tiny: Model) -> None:
    explanation = earmark.explain((make_sound(1.0), RATE), model_with(Constant(tiny, 0.0), tiny), "stub")
    assert not explanation.listenable.any()
    assert torch.equal(explanation.remainder, explanation.waveform)


def test_the_listenable_part_is_the_inverse_of_the_masked_spectrum(tiny: Model) -> None:
    explanation = earmark.explain((make_sound(1.0), RATE), tiny)
    window = torch.hamming_window(372)
    stft = torch.stft(explanation.waveform, 1024, 186, 372, window, pad_mode="constant", return_complex=True)
    naive = torch.istft(explanation.mask * stft, 1024, 186, 372, window, length=RATE)
    torch.testing.assert_close(explanation.listenable, naive, rtol=0, atol=1e-5)


def test_loudness_changes_only_the_loudness(tiny: Model) -> None:
    loud, quiet = (earmark.explain((gain * make_sound(1.0), RATE), tiny) for gain in (1.0, 1e-3))
    torch.testing.assert_close(loud.mask, quiet.mask, rtol=0, atol=1e-4)
    torch.testing.assert_close(loud.listenable, 1e3 * quiet.listenable, rtol=0, atol=1e-4)


def test_the_target_is_the_decision_unless_a_class_is_named(tiny: Model) -> None:
    sound = (make_sound(1.0), RATE)
    with torch.no_grad():
        probabilities = tiny.classifier(torch.from_numpy(sound[0]).float()[None])[0].softmax(0)
    decided = LABELS[int(probabilities.argmax())]
    explanation = earmark.explain(sound, tiny)
    assert (explanation.label, explanation.decision) == (decided, decided)
    for index, label in enumerate(LABELS):
        named = earmark.explain(sound, tiny, target=label, scores=False)
        assert (named.label, named.decision) == (label, decided)
        assert named.probability == pytest.approx(float(probabilities[index]), abs=1e-5)


def test_scores_are_the_metrics_of_two_more_passes(tiny: Model) -> None:
    explanation = earmark.explain((make_sound(1.0), RATE), tiny, target="rain")
    classifier, mask = tiny.classifier, explanation.mask[None]
    stft = classifier.spectrogram(explanation.waveform[None] / explanation.waveform.abs().max())
    with torch.no_grad():
        heard = [
            classifier.spectrogram(classifier.spectrogram.inverse(stft * part, len(explanation.waveform)))
            for part in (1, mask, 1 - mask)
        ]
        logits = [classifier.logits(classifier.features(part)) for part in heard]
    for name, value in score(*logits, mask, torch.tensor([1])).items():
        assert explanation.scores[name] == pytest.approx(float(value), abs=1e-3)
    for name, part in zip(("probability", "probability_in", "probability_out"), logits, strict=True):
        assert explanation.scores[name] == pytest.approx(float(part.softmax(1)[0, 1]), abs=1e-5)


def test_scores_are_those_of_what_is_heard(tiny: Model) -> None:
    explanation = earmark.explain((make_sound(1.0), RATE), tiny, target="rain", area=0.1)
    classifier, level = tiny.classifier, explanation.waveform.abs().max()
    for name, sound in (("in", explanation.listenable), ("out", explanation.remainder)):
        with torch.no_grad():
            stft = classifier.spectrogram(sound[None] / level)
            p = classifier.probabilities(classifier.logits(classifier.features(stft)))[0, 1]
        assert explanation.scores[f"probability_{name}"] == pytest.approx(float(p), abs=1e-6)


def test_no_scores_if_none_are_wanted(tiny: Model) -> None:
    assert earmark.explain((make_sound(1.0), RATE), tiny, scores=False).scores == {}


def test_a_list_gives_a_list(tiny: Model, sound_file: Callable[..., Path]) -> None:
    path = sound_file()
    explanations = earmark.explain([path, str(path), (make_sound(0.5), RATE)], tiny, scores=False)
    assert [explanation.source for explanation in explanations] == [str(path), str(path), "sound-3"]
    assert torch.equal(explanations[0].mask, explanations[1].mask)
    assert earmark.explain([], tiny) == []


def test_arrays_of_every_kind(tiny: Model) -> None:
    stereo = make_sound(0.5, channels=2)
    forms = [stereo, torch.from_numpy(stereo.copy()), stereo.mean(0).astype(np.float32)]
    first, *others = (earmark.explain((form, RATE), tiny, scores=False) for form in forms)
    for other in others:
        torch.testing.assert_close(other.listenable, first.listenable)


def test_a_threshold_makes_the_mask_hard(tiny: Model) -> None:
    sound = (make_sound(1.0), RATE)
    soft = earmark.explain(sound, tiny, scores=False)
    threshold = float(soft.mask.median())
    hard = earmark.explain(sound, tiny, threshold=threshold)
    assert torch.equal(hard.mask, (soft.mask >= threshold).float())
    assert hard.threshold == threshold
    check_parts(hard, RATE)


@pytest.mark.parametrize("seconds", [0.3, 1.0])  # the silence after a short sound takes nothing of it
def test_an_area_keeps_the_best_bins(seconds: float, tiny: Model) -> None:
    sound = (make_sound(seconds), RATE)
    soft = earmark.explain(sound, tiny, scores=False).mask
    hard = earmark.explain(sound, tiny, area=0.2, scores=False)
    assert hard.kept == pytest.approx(0.2, abs=1e-4)
    assert soft[hard.mask == 1].min() >= soft[hard.mask == 0].max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "cat"}, "no class 'cat'; expected one of dog, rain, clock"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"threshold": 0.5, "area": 0.1}, "both threshold 0.5 and area 0.1"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"area": 0.0}, "area is 0.0"),
        ({"device": "blah"}, "no device 'blah'"),
    ],
)
def test_impossible_wishes(options: dict[str, object], message: str, tiny: Model) -> None:
    with pytest.raises(ModelError, match=message):
        earmark.explain((make_sound(1.0), RATE), tiny, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ((np.full(RATE, np.nan), RATE), "NaN or infinite"),
        ((np.r_[np.zeros(RATE), np.inf], RATE), "NaN or infinite"),
        ((np.zeros(RATE), RATE), "sound is silent"),
        ((np.ones(1), RATE), "sound has 1 samples"),
        ((np.ones(RATE, dtype=np.int16), RATE), "int16"),
        ((np.ones((RATE, 2)), RATE), "transpose it"),
        ((np.ones(RATE), 0), "sample rate is 0"),
        (np.ones(RATE), "audio is ndarray; expected a file, or"),
        (None, "audio is NoneType"),
        ("nowhere.wav", r"nowhere\.wav does not exist"),
    ],
)
def test_bad_sounds(audio: object, message: str, tiny: Model) -> None:
    with pytest.raises(AudioError, match=message):
        earmark.explain(audio, tiny)  # type: ignore[call-overload]


def test_masks_on_features_cannot_be_heard(tiny: Model) -> None:
    model = model_with(OnFeatures(tiny, 1.0), tiny)
    with pytest.raises(ModelError, match="cannot be listened to"):
        earmark.explain((make_sound(1.0), RATE), model, "stub")


def test_a_method_that_needs_other_sounds_is_refused_before_any_sound_is_read(tiny: Model) -> None:
    with pytest.raises(ModelError, match=r"class-mean.*by `earmark evaluate`"):
        earmark.explain("no-such-file.wav", tiny, "class-mean")


# A tiny L-MAC is all that is trained here; it has no attention, and zennit may not be there.
LISTENABLE = [
    name
    for name, kind in registered().items()
    if not kind.needs_examples
    and (name == "lmac" or not issubclass(kind, Trained))
    and name not in ("attention-rollout", "gradient-x-attention", "lrp")
]


@pytest.mark.parametrize("method", LISTENABLE)
def test_every_method_can_be_listened_to(tiny: Model, method: str) -> None:
    check_parts(earmark.explain((make_sound(1.0), RATE), tiny, method), RATE)


def test_a_method_may_take_gradients(tiny: Model) -> None:
    explanation = earmark.explain(
        (make_sound(1.0), RATE), model_with(Gradient(tiny.classifier), tiny), "stub"
    )
    check_parts(explanation, RATE)
    assert not explanation.mask.requires_grad
    assert explanation.mask.max() == 1


def test_a_model_that_gives_nan_is_named(make_tiny: Callable[[], Model]) -> None:
    model = make_tiny()
    model.classifier.head.bias.fill_(torch.nan)  # type: ignore[union-attr, operator]
    with pytest.raises(ModelError, match="'tiny' gives no finite numbers for sound"):
        earmark.explain((make_sound(1.0), RATE), model)


def test_a_folder_is_loaded_once_until_it_changes(
    model_dir: Path, make_tiny: Callable[[], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, loads = tmp_path / "model", []
    shutil.copytree(model_dir, folder)
    load = earmark.api.load_model
    monkeypatch.setattr(
        earmark.api, "load_model", lambda *given, **options: loads.append(1) or load(*given, **options)
    )
    sound = (make_sound(1.0), RATE)
    first, second = (earmark.explain(sound, folder, scores=False) for _ in range(2))
    assert len(loads) == 1
    assert torch.equal(first.mask, second.mask)
    changed = make_tiny()
    changed.explainers["lmac"].decoder.head.bias.fill_(9.0)  # type: ignore[attr-defined]
    save_model(changed, folder)
    assert earmark.explain(sound, folder, scores=False).kept > first.kept
    assert len(loads) == 2


def test_load_gives_a_model_of_ones_own(model_dir: Path) -> None:
    assert earmark.load(model_dir).classifier is not earmark.load(model_dir).classifier


class Strange(torch.nn.Module):
    """Lets no gradient through, or takes no sound beyond full scale."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.detached, self.weights = detached, torch.nn.Conv1d(1, 2, 16, 8)

    def forward(self, sound: Tensor) -> Tensor:
        if not self.detached and sound.abs().amax() > 1:
            raise ValueError("beyond full scale")
        return self.weights(sound.detach() if self.detached else sound).mean(-1)


def test_a_network_without_gradients_is_refused_at_once_and_a_strange_one_is_not() -> None:
    def model(detached: bool) -> Model:
        network = Strange(detached)
        if detached:
            network.weights.requires_grad_(False)
        options = {"sample_rate": RATE, "labels": ("a", "b"), "seconds": 0.5, "layout": "b1t"}
        return Model("own", earmark.wrap(network, **options), {})  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="saliency needs gradients, and Strange lets none through"):
        earmark.api.prepare(model(True), "saliency")
    earmark.api.prepare(model(True), "occlusion")
    quiet = 0.1 * np.random.default_rng(0).standard_normal(RATE // 2).astype(np.float32)
    assert earmark.explain((quiet, RATE), model(False), "saliency", scores=False).label in "ab"
    with pytest.raises(ModelError, match="fails at sound: ValueError: beyond full scale"):
        earmark.explain((20 * quiet, RATE), model(False), "saliency")
