"""Controls: what their names say, and nothing of the classifier."""

from __future__ import annotations

import pytest
import torch

from earmark.errors import ModelError
from earmark.explainers.base import find
from earmark.explainers.controls import ClassMean
from earmark.features.masking import largest_bins
from explainers.networks import Cue, noise

TARGET = torch.tensor([0, 1])


def test_ones_and_zeros() -> None:
    cue = Cue()
    stft = cue.spectrogram(noise(2))
    assert find("all-ones")(cue).masks(stft, TARGET).min() == 1
    assert find("all-zeros")(cue).masks(stft, TARGET).max() == 0


def test_the_best_bins_of_loudest_are_the_loudest() -> None:
    cue = Cue()
    stft = cue.spectrogram(noise(2))
    kept = largest_bins(find("loudest")(cue).masks(stft, TARGET), 0.1) == 1
    for magnitude, chosen in zip(stft.abs(), kept):
        assert magnitude[chosen].min() >= magnitude[~chosen].max()


def test_random_is_uniform() -> None:
    found = find("random")(Cue()).masks(Cue().spectrogram(noise(1)), TARGET[:1])
    assert found.mean().item() == pytest.approx(0.5, abs=0.03)
    assert found.std().item() == pytest.approx(12**-0.5, abs=0.03)


def test_class_mean_is_the_mean_of_the_class_whatever_the_sound() -> None:
    cue = Cue()
    learned = ClassMean(cue)
    shown = torch.rand(3, 65, 32, generator=torch.Generator().manual_seed(0))
    learned.learn(shown, torch.tensor([0, 0, 0]))
    found = learned.masks(cue.spectrogram(noise(2)), TARGET)
    assert torch.allclose(found[0], shown.mean(0))
    # Nothing was shown of class 1, so it gets the mean of all.
    assert torch.allclose(found[1], shown.mean(0))


def test_class_mean_must_have_seen_masks() -> None:
    with pytest.raises(ModelError, match="has seen no masks"):
        ClassMean(Cue()).masks(Cue().spectrogram(noise(1)), TARGET[:1])
