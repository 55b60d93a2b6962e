"""`earmark info`: what a model is, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from earmark.card import describe_model
from earmark.cli.main import app
from earmark.model import Model
from explainers.networks import many_labels


def test_a_card_holds_what_the_model_is(tiny: Model) -> None:
    card = describe_model(tiny)
    classifier = tiny.classifier
    assert card["parameters"] == sum(weights.numel() for weights in classifier.parameters())
    assert card["representations"][0] == {"name": "1", "shape": [4, 16, 43]}
    assert card["eaten"] == [32, 87]
    with FlopCounterMode(display=False) as counted:
        classifier.representations(classifier.features(classifier.spectrogram(torch.zeros(1, 16000))))
    assert 0 < counted.get_total_flops() == card["flops"]
    assert card["explainers"]["lmac"]["parameters"] == sum(
        weights.numel() for weights in tiny.explainers["lmac"].decoder.parameters()
    )
    json.dumps(card, allow_nan=False)


def test_a_wrapped_network_names_its_layers() -> None:
    card = describe_model(Model("many", many_labels()))
    assert card["several"]
    assert [inner["name"] for inner in card["representations"]] == ["1", "3"]
    assert "n_mels=24" in card["eats"]
    assert card["level"] == "as it is"


def test_people_and_programs_are_told_the_same(model_dir: Path) -> None:
    told = CliRunner().invoke(app, ["info", str(model_dir)])
    assert told.exit_code == 0, told.stderr
    for words in (
        "3, one holds: dog, rain, clock",
        "16000 Hz, 1 s at a time",
        "1: 4 x 16 x 43",
        "lmac (compact",
    ):
        assert words in told.stdout
    card = json.loads(CliRunner().invoke(app, ["info", str(model_dir), "--json"]).stdout)
    assert card["labels"] == ["dog", "rain", "clock"]


def test_a_model_that_is_not_there() -> None:
    result = CliRunner().invoke(app, ["info", "nothing"])
    assert result.exit_code == 2
    assert "there is no model 'nothing'" in result.stderr
