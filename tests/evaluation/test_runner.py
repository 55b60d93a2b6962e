"""Scoring on sounds of known parts: what perfect, empty and full masks must get."""

import pytest
import torch
from torch import Tensor

from earmark.classifiers.base import AudioClassifier, Heard
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.evaluation.protocol import Sounds, in_noise, mixtures
from earmark.evaluation.runner import Scene, hear_sounds, mean_scores, score_masks, score_sounds
from earmark.explainers.base import Explainer
from earmark.features.masking import MaskScale, apply_mask
from earmark.metrics import Protocol
from explainers.networks import Cue, noise

SAMPLES = 16000


class Constant(Explainer):
    name = "constant"

    def __init__(self, classifier: AudioClassifier, value: float) -> None:
        super().__init__(classifier)
        self.value = value

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        return torch.full(stft.shape, self.value)


class Below(Explainer):
    """Keeps what lies below 2 kHz."""

    name = "below"

    def masks(self, stft: Tensor, target: Tensor, heard: Heard | None = None) -> Tensor:
        below = self.classifier.spectrogram.frequencies() < 2000
        return below.float()[None, :, None].expand(stft.shape).clone()


@pytest.fixture
def classifier() -> Cnn14:
    torch.manual_seed(0)
    return Cnn14(Cnn14Config(labels=("low", "high", "other"), width=1 / 16)).eval()


@pytest.fixture
def tones() -> Sounds:
    time = torch.arange(SAMPLES) / 16000
    low, high = (torch.sin(2 * torch.pi * f * time) for f in (500, 4000))
    return mixtures(torch.stack([low, high]), torch.tensor([0, 1]), per_clip=1, snr_db=3.0)


def test_mixtures_have_their_ratio_and_are_heard_at_a_peak_of_1(classifier: Cnn14, tones: Sounds) -> None:
    ratio = 10 * torch.log10(tones.source.square().sum(1) / tones.interferer.square().sum(1))
    assert ratio.tolist() == pytest.approx([3, 3], abs=1e-3)
    heard = hear_sounds(classifier, tones)
    assert heard.sounds.mixture.abs().amax(1).tolist() == pytest.approx([1, 1])
    assert torch.allclose(heard.heard.logits, classifier(tones.mixture), atol=1e-5)


def test_noise_is_the_same_for_a_seed_only() -> None:
    clips, labels = torch.randn(3, SAMPLES), torch.tensor([0, 1, 2])
    noises = [torch.randn(30000), torch.randn(4000)]
    first, again, other = (in_noise(clips, labels, noises, seed=seed).interferer for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_full_mask_changes_nothing(classifier: Cnn14, tones: Sounds) -> None:
    means = mean_scores(score_sounds(Constant(classifier, 1.0), tones)[None])
    assert (means["AD"], means["AI"], means["Fid-In"], means["MM"]) == (0, 0, 1, 1)
    assert means["FF"] == pytest.approx(means["FF all"], abs=1e-6)
    assert means["p_in"] == pytest.approx(means["p"])


def test_an_empty_mask_leaves_everything_outside(classifier: Cnn14, tones: Sounds) -> None:
    means = mean_scores(score_sounds(Constant(classifier, 0.0), tones)[None])
    assert means["FF"] == pytest.approx(0, abs=1e-6)
    assert means["p_out"] == pytest.approx(means["p"])


def test_a_mask_on_the_source_alone_frees_it(classifier: Cnn14, tones: Sounds) -> None:
    scores = score_sounds(Below(classifier), tones)[None]
    low, high = 0, 1
    assert scores["share"][low] > 0.99
    assert scores["share"][high] < 0.01
    assert scores["share mixture"].tolist() == pytest.approx([0.666, 0.666], abs=0.01)
    assert scores["SI-SDRi"][low] > 20
    assert scores["SI-SDRi"][high] < -20


def test_scores_do_not_depend_on_the_batch(classifier: Cnn14, tones: Sounds) -> None:
    one, two = (score_sounds(Below(classifier), tones, batch_size=size)[None] for size in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name].double(), two[name].double(), atol=1e-4), name


def test_binary_masks_have_their_area(classifier: Cnn14, tones: Sounds) -> None:
    scores = score_sounds(Below(classifier), tones, [0.1])[0.1]
    assert mean_scores(scores)["MM"] == pytest.approx(0.1, abs=1e-4)


def test_what_speaks_of_the_source_is_averaged_over_those_decided_for_it() -> None:
    scores = {
        "target": torch.tensor([0, 1]),
        "label": torch.tensor([0, 0]),
        "AI": torch.tensor([100.0, 0.0]),
        "share": torch.tensor([0.9, 0.1]),
    }
    means = mean_scores(scores)
    assert means == {"AI": 50, "share": pytest.approx(0.9), "accuracy": 0.5}


class Sure(Cue):
    """Is sure of what it decides, so that small differences of the sound show."""

    def representations(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, maps = super().representations(features)
        return 100 * logits, maps


def scores_of_combs(protocol: Protocol, scale: MaskScale) -> tuple[Scene, Tensor, dict[str, Tensor]]:
    """Score masks that keep every other frame, which no sound can have."""
    classifier = Sure().eval()
    explainer = Constant(classifier, 1.0)
    explainer.scale = scale
    waveform = noise(4)
    scene = hear_sounds(classifier, mixtures(waveform, torch.tensor([0, 1, 0, 1]), per_clip=1))
    mask = torch.zeros(scene.stft.shape)
    mask[:, :, ::2] = 0.9
    return scene, mask, score_masks(explainer, scene, mask, protocol)


def probability(scene: Scene, stft: Tensor) -> Tensor:
    """Return what the classifier gives the decided classes, at the level that it is handed."""
    with torch.no_grad():
        logits = scene.classifier.logits(scene.classifier.features(stft))
    return scene.classifier.probabilities(logits).gather(1, scene.target[:, None])[:, 0]


@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
def test_scores_are_those_of_the_listenable_sound(scale: MaskScale) -> None:
    scene, mask, scores = scores_of_combs("corrected", scale)
    spectrogram, samples = scene.classifier.spectrogram, scene.sounds.mixture.shape[1]
    kept = apply_mask(scene.stft, mask, scale)
    listenable = spectrogram.inverse(kept, samples)
    remainder = scene.sounds.mixture - listenable  # as it is written, whatever a mask multiplies
    parts = {"p_in": (kept, listenable), "p_out": (scene.stft - kept, remainder)}
    for name, (spectrum, sound) in parts.items():
        heard = probability(scene, spectrogram(sound))
        torch.testing.assert_close(scores[name], heard)
        # Else the test could not tell: the masked spectrum itself gets something else.
        assert (probability(scene, spectrum) - heard).abs().max() > 0.01
    torch.testing.assert_close(scores["FF"], scores["p"] - scores["p_out"])


def test_a_remainder_is_heard_as_the_sound_less_what_is_kept() -> None:
    scene, mask, scores = scores_of_combs("corrected", "magnitude")
    spectrogram, mixture = scene.classifier.spectrogram, scene.sounds.mixture
    listenable = spectrogram.inverse(scene.stft * mask, mixture.shape[1])
    torch.testing.assert_close(scores["p_out"], probability(scene, spectrogram(mixture - listenable)))


def test_the_authors_program_scores_the_masked_spectrum() -> None:
    scene, mask, scores = scores_of_combs("paper", "magnitude")
    for name, part in (("p_in", mask), ("p_out", 1 - mask)):
        torch.testing.assert_close(scores[name], probability(scene, scene.stft * part))


def test_masks_on_features_have_no_sound() -> None:
    classifier = Sure().eval()
    explainer = Constant(classifier, 1.0).on("features")
    scene = hear_sounds(classifier, mixtures(noise(2), torch.tensor([0, 1]), per_clip=1))
    mask = torch.full(scene.heard.features.shape, 0.5)
    scores = score_masks(explainer, scene, mask)
    torch.testing.assert_close(scores["p_in"], probability(scene, 0.5 * scene.stft))
    assert not {"SI-SDRi", "share"} & scores.keys()
