"""What is said of one explanation follows from what the classifier says, and from what chance would give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark.errors import ModelError
from earmark.explainers.base import Explainer
from earmark.features.masking import largest_bins
from earmark.model import Model
from earmark.trust import judge
from explainers.networks import RATE, Cue

SAID = {"probability": 0.9, "Fid-In": 1.0}


@pytest.mark.parametrize(
    ("kept", "rest", "random", "loudest", "level"),
    [
        (0.95, 0.10, (0.2, 0.9), (0.7, 0.4), "well"),
        (0.95, 0.10, (0.2, 0.9), (0.95, 0.1), "partly"),  # no better than loud
        (0.95, 0.85, (0.2, 0.9), (0.2, 0.9), "partly"),  # the class stays without it
        (0.95, 0.10, (0.95, 0.1), (0.2, 0.9), "not"),  # no better than chance
    ],
)
def test_the_level_follows_from_keeping_losing_and_chance(kept, rest, random, loudest, level) -> None:
    scores = SAID | {"probability_in": kept, "probability_out": rest}
    scores |= dict(zip(("random_in", "random_out"), random))
    scores |= dict(zip(("loudest_in", "loudest_out"), loudest))
    trust = judge("dog", scores)
    assert trust is not None
    assert trust.level == level


def test_a_decision_that_changes_on_the_kept_part_is_told() -> None:
    chance = dict.fromkeys(("random_in", "random_out", "loudest_in", "loudest_out"), 0.5)
    scores = SAID | {"Fid-In": 0.0, "probability_in": 0.3, "probability_out": 0.95} | chance
    trust = judge("dog", scores)
    assert trust is not None
    assert trust.level == "not"
    assert "no longer dog (30 %), without it dog goes from 90 % to 95 %" in trust.said


def test_without_a_check_nothing_is_said() -> None:
    assert judge("dog", SAID | {"probability_in": 1.0, "probability_out": 0.0}) is None


class Marked(Explainer):
    """Keeps the rows that the toy decides by."""

    def masks(self, stft, target, heard=None):
        mask = torch.zeros(stft.shape)
        for index, of in enumerate(target.tolist()):
            mask[index, slice(*Cue.ROWS[of])] = 1
        return mask


@pytest.fixture
def heard() -> earmark.Explanation:
    """Return a checked explanation of a sound whose cue is quieter than what is in no class's rows."""
    classifier = Cue()
    with torch.no_grad():
        classifier.rows *= 200
    model = Model("toy", classifier.eval(), {"marked": Marked(classifier)})
    time = np.arange(RATE // 2) / RATE
    tones = {12: 0.04} | dict.fromkeys(range(20, 38, 2), 0.1)  # one in the class's rows, nine in no class's
    sound = sum(level * np.sin(2 * np.pi * row / 128 * RATE * time) for row, level in tones.items())
    return earmark.explain((sound.astype(np.float32), RATE), model, "marked", check=True)


def test_a_right_explanation_is_trusted_and_chance_is_measured_at_its_size(heard) -> None:
    assert heard.trust is not None
    assert heard.trust.level == "well", heard.trust.said
    classifier = Cue()
    with torch.no_grad():
        classifier.rows *= 200
    stft = classifier.spectrogram(heard.waveform[None] / heard.waveform.abs().max())
    loudest = largest_bins(stft.abs(), float(heard.mask.mean()))
    for name, part in (("loudest_in", loudest), ("loudest_out", 1 - loudest)):
        sound = classifier.spectrogram.inverse(stft * part, len(heard.waveform))
        said = classifier.probabilities(classifier.logits(classifier.features(classifier.spectrogram(sound))))
        assert heard.scores[name] == pytest.approx(said[0, 0].item(), abs=1e-5)


def test_the_json_says_it_too(heard, tmp_path: Path) -> None:
    *_, file = heard.save(tmp_path, "toy")
    said = json.loads(file.read_text(encoding="utf-8"))["trust"]
    assert said == {"level": "well", "said": heard.trust.said}


def test_a_check_needs_scores(tiny) -> None:
    with pytest.raises(ModelError, match="without scores"):
        earmark.explain((np.ones(100, dtype=np.float32), 16000), tiny, "saliency", scores=False, check=True)
