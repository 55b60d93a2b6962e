"""The engine: sounds of any length in batches, several classes of one pass, and what fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import earmark
from earmark.api import explain_each, prepare
from earmark.classifiers.base import AudioClassifier, Heard
from earmark.errors import AudioError, EarmarkError, ModelError
from earmark.explainers.base import Explainer
from earmark.explaining import AT_ONCE
from earmark.explanation import Explanation
from earmark.features.bands import bands_to_bins
from earmark.features.spectrogram import Spectrogram
from earmark.model import Model
from explainers.networks import conv1d

RATE, HOP = 16000, 186
STEP = int(RATE * 0.8) // HOP * HOP
BOUNDARIES = [RATE - 1, RATE, RATE + 1, RATE + STEP, RATE + STEP + 1]
RANDOM = np.random.default_rng(1).integers(RATE, 5 * RATE, 4).tolist()


class Pitch(AudioClassifier):
    """Hears "low" below 2 kHz and "high" above, each by the mean level of its half; and nothing else."""

    def __init__(self, multi_label: bool = False) -> None:
        super().__init__(Spectrogram(), ("low", "high", "never"), 1.0, multi_label)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def features(self, stft: Tensor) -> Tensor:
        return torch.log1p(stft.abs())

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = features[:, None] * self.scale
        low, high = maps[:, :, :128].mean((1, 2, 3)), maps[:, :, 128:256].mean((1, 2, 3))
        return torch.stack([low, high, low - 9], dim=1) * 20, [maps]

    def bands_to_bins(self) -> Tensor:
        return bands_to_bins(torch.arange(513.0), 513)


class Half(Explainer):
    """Keeps the half of the spectrum that a class is heard by, and none for "never"."""

    name, summary = "half", ""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        bins = torch.arange(stft.shape[1])[None, :, None]
        low, high, never = bins < 128, bins >= 128, bins < 0
        return torch.stack([low, high, never])[target, 0].float().expand(stft.shape)


class Ones(Explainer):
    """Keeps everything."""

    name, summary = "ones", ""

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        return torch.ones(stft.shape)


def pitch_model(kind: type[Explainer] = Half, multi_label: bool = False) -> Model:
    classifier = Pitch(multi_label)
    return Model("pitch", classifier, {"stub": kind(classifier)})


def tones(*pieces: tuple[float, float], level: float = 0.5) -> np.ndarray:
    """Return sines of a frequency in Hz and a length in seconds one after the other; 0 Hz is silence."""
    return np.concatenate(
        [level * np.sin(2 * np.pi * hz * np.arange(round(RATE * s)) / RATE) for hz, s in pieces]
    ).astype(np.float32)


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def check_parts(explanation: Explanation, waveform: np.ndarray) -> None:
    together = explanation.listenable + explanation.remainder
    torch.testing.assert_close(together, torch.from_numpy(waveform), rtol=0, atol=1e-5)
    assert explanation.mask.shape == (513, len(waveform) // HOP + 1)


@pytest.mark.parametrize("samples", [800, *BOUNDARIES, *RANDOM])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_an_all_ones_mask_gives_a_sound_of_any_length_back(samples: int, overlap: float) -> None:
    waveform = noise(samples) * np.linspace(1, 1e-3, samples, dtype=np.float32)  # windows differ in level
    explanation = earmark.explain((waveform, RATE), pitch_model(Ones), "stub", overlap=overlap)
    check_parts(explanation, waveform)
    assert (explanation.listenable - explanation.waveform).abs().max() < 1e-5
    assert explanation.kept == pytest.approx(1)
    assert explanation.timeline[0].start == 0
    assert explanation.timeline[-1].end == samples / RATE


@pytest.mark.parametrize("samples", BOUNDARIES)
def test_parts_of_a_real_mask_add_up(samples: int, tiny: Model) -> None:
    check_parts(earmark.explain((noise(samples), RATE), tiny), noise(samples))


def test_a_cue_shows_in_the_timeline_and_only_there() -> None:
    waveform = tones((500, 4), (3000, 2), (500, 4)) + noise(10 * RATE) / 100
    explanation = earmark.explain((waveform, RATE), pitch_model(), "stub")
    assert explanation.label == explanation.decision == "low"
    for moment in explanation.timeline:
        inside = min(moment.end, 6) - max(moment.start, 4)
        if abs(inside - 0.5) > 0.2:  # not half in, half out
            assert moment.label == moment.decision == ("high" if inside > 0.5 else "low")
            assert moment.probability > 0.9
    assert explanation.listenable[4 * RATE : 6 * RATE].abs().max() > 0.45
    high = explanation.mask[200].nonzero() * HOP / RATE
    assert (high.min(), high.max()) == (pytest.approx(4, abs=0.7), pytest.approx(6, abs=0.7))


def test_the_whole_is_the_mean_of_its_windows() -> None:
    explanation = earmark.explain((tones((500, 3), (3000, 1.5)) + noise(72000), RATE), pitch_model(), "stub")
    with torch.no_grad():
        windows = [explanation.waveform[round(m.start * RATE) :][:RATE] for m in explanation.timeline]
        mean = pitch_model().classifier(torch.stack(windows)).softmax(1).mean(0)
    assert explanation.decision == ("low", "high", "never")[int(mean.argmax())]
    assert explanation.probability == pytest.approx(float(mean.max()), abs=1e-5)
    for name, value in explanation.scores.items():
        each = [moment.scores[name] for moment in explanation.timeline]
        assert value == pytest.approx(np.mean(each), abs=1e-6)


def test_a_sound_of_one_window_has_one_moment() -> None:
    explanation = earmark.explain((tones((500, 0.05)), RATE), pitch_model(), "stub")
    (moment,) = explanation.timeline
    assert (moment.start, moment.end, moment.label) == (0, 0.05, "low")
    assert (moment.probability, moment.scores) == (explanation.probability, explanation.scores)
    assert moment.kept == pytest.approx(explanation.kept)


def test_silent_windows_are_passed_over() -> None:
    waveform = tones((500, 2), (0, 3), (3000, 2.4))
    explanation = earmark.explain((waveform, RATE), pitch_model(), "stub")
    check_parts(explanation, waveform)
    silent = [moment for moment in explanation.timeline if moment.label is None]
    assert silent
    assert all(moment.start >= 2 and moment.end <= 5 and moment.kept == 0 for moment in silent)
    assert {moment.decision for moment in explanation.timeline} == {"low", "high", None}
    low = earmark.explain((waveform, RATE), pitch_model(), "stub", target="low")
    said = [moment.probability for moment in low.timeline if moment.label is not None]
    assert low.probability == pytest.approx(np.mean(said))
    heard = [moment for moment in explanation.timeline if moment.label is not None]
    assert explanation.scores["AD"] == pytest.approx(np.mean([moment.scores["AD"] for moment in heard]))


def test_batches_give_what_single_sounds_give(tiny: Model) -> None:
    sounds = [(noise(samples), RATE) for samples in (RATE, 3000, 40000, 800, RATE + 1, 5000, 33333)]
    together = earmark.explain(sounds, tiny)
    for one, sound in zip(together, sounds, strict=True):
        alone = earmark.explain(sound, tiny)
        assert (one.label, len(one.timeline)) == (alone.label, len(alone.timeline))
        torch.testing.assert_close(one.mask, alone.mask, rtol=0, atol=1e-4)
        torch.testing.assert_close(one.listenable, alone.listenable, rtol=0, atol=1e-5)
        assert one.scores == pytest.approx(alone.scores, abs=2e-2)


@pytest.mark.parametrize("seconds", [0.8, 3.3])
def test_hard_masks_of_long_sounds_are_hard(seconds: float, tiny: Model) -> None:
    waveform = noise(round(seconds * RATE))
    for options in ({"threshold": 0.5}, {"area": 0.1}):
        explanation = earmark.explain((waveform, RATE), tiny, scores=False, **options)
        assert set(explanation.mask.unique().tolist()) <= {0.0, 1.0}
        check_parts(explanation, waveform)
    assert explanation.kept == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_several_classes_of_one_pass(seconds: float, multi_label: bool) -> None:
    model = pitch_model(multi_label=multi_label)
    sound = (tones((3000, seconds * 0.7), (500, seconds * 0.3)) + noise(round(seconds * RATE)) / 50, RATE)
    named = earmark.explain(sound, model, "stub", target=["never", "high"])
    assert [one.label for one in named] == ["never", "high"]
    assert named[0].kept == 0
    assert not named[0].listenable.any()
    for one in named:
        alone = earmark.explain(sound, model, "stub", target=one.label)
        assert (one.probability, one.scores) == (alone.probability, alone.scores)
        assert torch.equal(one.mask, alone.mask)
        assert {moment.label for moment in one.timeline} == {one.label}
        assert one.decision == "high"
    best = earmark.explain(sound, model, "stub", top=2)
    assert [one.label for one in best] == ["high", "low"]
    assert best[0].probability >= best[1].probability
    for one in best:  # the same class all along, also where a window is found to be another
        assert {moment.label for moment in one.timeline} == {one.label}
    (lists,) = earmark.explain([sound], model, "stub", top=1)
    assert [one.label for one in lists] == ["high"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ["low", "deep"]}, "no class 'deep'"),
        ({"target": []}, "targets are none"),
        ({"target": ["low", "low"]}, "targets are low, low; expected different classes"),
        ({"target": "low", "top": 2}, "both target low and top 2"),
        ({"top": 0}, "top is 0; expected a number of classes, 1 to 3"),
        ({"top": 4}, "top is 4"),
        ({"overlap": 0.6}, "overlap is 0.6"),
        ({"overlap": float("nan")}, "overlap is nan"),
    ],
)
def test_impossible_wishes(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        prepare(pitch_model(), "stub", **options)  # type: ignore[arg-type]


def test_bad_sounds_fail_alone_and_in_their_place(sound_file: Callable[..., Path], tiny: Model) -> None:
    good = [sound_file(f"{number}.wav", seconds=0.2 + 0.3 * number) for number in range(9)]
    sounds = [good[0], "nowhere.wav", *good[1:5], (np.zeros(RATE), RATE), *good[5:], (noise(3), RATE)]
    found = list(explain_each(sounds, tiny))
    for sound, one in zip(sounds, found, strict=True):
        if sound in good:
            assert isinstance(one, list)
            assert one[0].source == str(sound)
        else:
            assert isinstance(one, AudioError)
    with pytest.raises(AudioError, match="nowhere"):
        earmark.explain(sounds, tiny)


def test_a_model_that_says_nan_of_one_sound_explains_the_others() -> None:
    model = pitch_model()
    features = model.classifier.features
    model.classifier.features = lambda stft: features(stft).where(  # type: ignore[method-assign]
        stft.abs().amax((1, 2), keepdim=True) < 100, torch.nan
    )
    found = list(explain_each([(noise(RATE), RATE), (tones((500, 1.0)), RATE)], model, "stub"))
    assert isinstance(found[0], list)
    assert isinstance(found[1], ModelError)
    assert "gives no finite numbers for sound-2" in str(found[1])


class Moody(Half):
    """Fails or gives NaN where a sound is loud, as networks and methods do at some sounds."""

    mood: Callable[[Tensor], Tensor]

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        masks = super().masks(stft, target, heard)
        loud = stft.abs().amax((1, 2)) > 100
        return torch.stack([type(self).mood(mask) if one else mask for mask, one in zip(masks, loud)])


def raising(error: Exception) -> Callable[[Tensor], Tensor]:
    def mood(mask: Tensor) -> Tensor:
        raise error

    return mood


MOODS = {
    "the model 'pitch' fails at sound-2: RuntimeError: boom; ": raising(RuntimeError("boom")),
    "the model 'pitch' fails at sound-2: IndexError: ": raising(IndexError("out of range")),
    "OutOfMemoryError: full; free some memory": raising(torch.OutOfMemoryError("full")),
    "sound-2: no gradients": raising(ModelError("no gradients")),
    "the method 'stub' gives no finite mask of sound-2": lambda mask: mask / 0 * 0,
}


@pytest.mark.parametrize("message", MOODS)
@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}, {"area": 0.5}])
def test_where_a_network_or_method_fails_that_sound_fails_alone(
    message: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Moody, "mood", staticmethod(MOODS[message]), raising=False)
    sounds = [(noise(RATE), RATE), (tones((500, 2.5)), RATE), (noise(2000), RATE)]
    first, failed, last = explain_each(sounds, pitch_model(Moody), "stub", **options)
    assert isinstance(first, list)
    assert isinstance(failed, ModelError)
    assert message in str(failed)
    assert isinstance(last, list)


def test_a_network_that_fails_in_the_first_pass_fails_that_sound_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = pitch_model()
    features = model.classifier.features

    def failing(stft: Tensor) -> Tensor:
        if stft.abs().amax() > 100:
            raise RuntimeError("boom")
        return features(stft)

    monkeypatch.setattr(model.classifier, "features", failing)
    sounds = [(noise(2 * RATE), RATE), (tones((500, 2.5)), RATE)]
    first, failed = explain_each(sounds, model, "stub", top=2)
    assert isinstance(first, list)
    assert "fails at sound-2: RuntimeError: boom" in str(failed)


def test_memory_for_one_at_a_time_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    features, sounds = Pitch.features, [(noise(samples), RATE) for samples in (RATE, 2 * RATE, 3000)]
    expected = earmark.explain(sounds, pitch_model(), "stub", top=1)

    def small(self: Pitch, stft: Tensor) -> Tensor:
        if len(stft) > 1:
            raise torch.OutOfMemoryError("full")
        return features(self, stft)

    monkeypatch.setattr(Pitch, "features", small)
    for (one,), (other,) in zip(earmark.explain(sounds, pitch_model(), "stub", top=1), expected, strict=True):
        torch.testing.assert_close(one.mask, other.mask)


def test_means_pass_over_what_is_no_number() -> None:
    model = pitch_model()
    logits = model.classifier.representations

    def sometimes(features: Tensor) -> tuple[Tensor, list[Tensor]]:
        said, maps = logits(features)
        empty = features.amax((1, 2)) < 0.5  # what a mask that keeps next to nothing leaves
        return said.masked_fill(empty[:, None], torch.nan), maps

    model.classifier.representations = sometimes  # type: ignore[method-assign]
    waveform = tones((500, 2), (3000, 2.4)) + noise(70400) / 100
    for target in ("high", "never"):
        explanation = earmark.explain((waveform, RATE), model, "stub", target=target)
        each = [moment.scores["probability_in"] for moment in explanation.timeline]
        numbers = [value for value in each if np.isfinite(value)]
        assert bool(numbers) == (target == "high")
        assert len(numbers) < len(each)
        assert explanation.scores["probability_in"] == pytest.approx(
            np.mean(numbers) if numbers else np.nan, nan_ok=True
        )


def test_sounds_are_read_as_they_are_needed(tiny: Model) -> None:
    read = 0

    def sounds() -> Iterator[tuple[np.ndarray, int]]:
        nonlocal read
        for _ in range(5 * AT_ONCE):
            read += 1
            yield noise(2000), RATE

    for number, one in enumerate(explain_each(sounds(), tiny, scores=False), start=1):
        assert not isinstance(one, EarmarkError)
        assert read - number < AT_ONCE


def test_only_a_quicker_copy_of_a_classifier_is_made(tiny: Model) -> None:
    assert prepare(tiny).quick().classifier is not tiny.classifier
    # A network of one's own is not copied: a copy would take its memory, and no less time.
    own = Model("own", conv1d())
    assert prepare(own, "occlusion").quick().classifier is own.classifier


def test_a_costly_method_goes_window_by_window() -> None:
    quick, slow = (prepare("esc10", method) for method in ("gradcam", "rise"))
    assert (quick.at_once, slow.at_once) == (AT_ONCE, 1)
