"""The parts of a sound: they add up to it, come in the order of their relevance, and are written whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import earmark
from earmark.cli.main import app
from earmark.errors import AudioError, ModelError
from earmark.explainers.l2i.explainer import L2i
from earmark.explainers.l2i.network import L2iConfig
from earmark.model import Model, save_model
from explainers.networks import RATE, cnn14, noise


@pytest.fixture
def model() -> Model:
    classifier = cnn14()
    torch.manual_seed(0)
    explainer = L2i(classifier, L2iConfig(components=6, channels=8))
    explainer.network.dictionary.copy_(torch.rand_like(explainer.network.dictionary))
    return Model("tiny", classifier, {"l2i": explainer})


def test_all_parts_together_are_the_sound(model: Model) -> None:
    sound = noise(1)[0, :1600]
    found = earmark.decompose((sound, RATE), model, top=10)
    assert (len(found.components), found.of) == (6, 6)
    together = torch.stack([one.listenable for one in found.components]).sum(0)
    assert together.shape == sound.shape
    # What lies under the sound's end is cut off with the silence after it.
    assert torch.allclose(together[:-128], sound[:-128], atol=1e-5)
    assert torch.allclose(torch.stack([one.mask for one in found.components]).sum(0), torch.ones(()))


def test_the_most_relevant_comes_first_and_counts_as_one(model: Model) -> None:
    found = earmark.decompose((noise(1)[0], RATE), model, target="b", top=3)
    relevances = [one.relevance for one in found.components]
    assert relevances == sorted(relevances, reverse=True)
    assert (found.label, len(relevances)) == ("b", 3)
    every = earmark.decompose((noise(1)[0], RATE), model, target="b", top=6)
    assert max(abs(one.relevance) for one in every.components) == pytest.approx(1)


def test_the_parts_of_audiolime_are_the_sound_and_its_mask_is_made_of_them(model: Model) -> None:
    sound = noise(1)[0]
    found = earmark.decompose((sound, RATE), model, "audiolime", target="b", top=20)
    assert found.of == len(found.components) == 8
    together = torch.stack([one.mask for one in found.components]).sum(0)
    assert torch.allclose(together, torch.ones(()), atol=1e-5)
    positive = [(max(one.relevance, 0.0), one.mask) for one in found.components]
    mask = sum(weight * part for weight, part in positive)
    explained = earmark.explain((sound, RATE), model, "audiolime", target="b").mask
    assert torch.allclose(explained, mask / mask.max(), atol=1e-4)


def test_what_has_no_parts_is_told(model: Model) -> None:
    with pytest.raises(ModelError, match="saliency knows no components"):
        earmark.decompose((noise(1)[0], RATE), model, "saliency")
    with pytest.raises(AudioError, match=r"sound is 1\.0 s long; expected at most 0\.5 s"):
        earmark.decompose((noise(1)[0].repeat(2), RATE), model)
    with pytest.raises(AudioError, match="sound is silent"):
        earmark.decompose((np.zeros(1000, np.float32), RATE), model)


def test_the_command_writes_parts_and_goes_on_past_a_bad_file(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    soundfile.write(tmp_path / "a b.wav", noise(1)[0].numpy() * 0.5, RATE)
    (tmp_path / "bad.wav").write_text("no sound")
    command = ["components", str(tmp_path / "bad.wav"), str(tmp_path / "a b.wav"), "--top", "2"]
    result = CliRunner().invoke(
        app, [*command, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 1
    assert "bad.wav" in result.stderr
    assert "parts" in result.stdout
    said = json.loads((tmp_path / "out" / "a b.components.json").read_text())
    assert said["files"] == ["a b.component-1.wav", "a b.component-2.wav"]
    assert [part["number"] for part in said["components"]]
    for name in said["files"]:
        assert soundfile.read(tmp_path / "out" / name)[0].any()
