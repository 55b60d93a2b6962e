"""A network in a file of one's own, through the whole command line: info, training, explanation."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from earmark.cli.main import app

NETWORK = """
import torch, earmark
from neighbour import LABELS
from torch import nn

def make():
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 8, 64, 32), nn.ReLU(), nn.Conv1d(8, 8, 8, 4), nn.ReLU()
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
    return earmark.wrap(network, sample_rate=16000, labels=LABELS, seconds=0.5, layout="b1t")

def explained():
    return earmark.load("{folder}", classifier=make())

def other():
    classifier = make()
    classifier.network[0].weight.data *= 2
    return earmark.load("{folder}", classifier=classifier)

made = make()
number = 7

def broken():
    return 1 / 0
"""


@pytest.fixture
def mynet(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("LABELS = ('clock', 'dog', 'rain')")
    file = tmp_path / "mynet.py"
    file.write_text(NETWORK.replace("{folder}", str(tmp_path / "lmac")))
    return file


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_it_is_trained_for_and_explained_from_its_file(mynet: Path, data_dir: Path, sound_file) -> None:
    tmp_path = mynet.parent
    settings = ["train_folds=[1]", "validate_folds=[2]", "loop.epochs=1", "decoder.channels=[4,8]"]
    changes = [part for setting in settings for part in ("--set", setting)]
    run("train", "lmac", "--model", f"{mynet}:make", "--data", data_dir, "--out", tmp_path / "lmac", *changes)
    told = run("explain", sound_file(), "--model", f"{mynet}:explained", "--out", tmp_path / "out", "--json")
    assert json.loads(told)["method"] == "lmac"
    told = run("explain", sound_file(), "--model", f"{mynet}:made", "--method", "saliency",
               "--out", tmp_path / "out", "--json")  # fmt: skip
    assert json.loads(told)["model"] == "made"
    assert "lmac (compact decoder)" in run("info", f"{mynet}:explained")
    scores = tmp_path / "results.csv"
    wanted = ["--folds", "2", "--methods", "lmac,saliency", "--conditions", "clean"]
    run("evaluate", "--model", f"{mynet}:explained", "--data", data_dir, *wanted, "--out", scores)
    assert {"lmac", "saliency"} <= {row["method"] for row in csv.DictReader(scores.open())}
    # The decoder was trained for other weights.
    result = CliRunner().invoke(app, ["info", f"{mynet}:other"])
    assert result.exit_code == 2
    assert "other weights" in result.stderr or "another" in result.stderr


def test_a_folder_of_explainers_alone_asks_for_the_network(mynet: Path, data_dir: Path) -> None:
    settings = ["train_folds=[1]", "validate_folds=[2]", "loop.epochs=1", "decoder.channels=[4,8]"]
    changes = [part for setting in settings for part in ("--set", setting)]
    out = mynet.parent / "lmac"
    run("train", "lmac", "--model", f"{mynet}:make", "--data", data_dir, "--out", out, *changes)
    result = CliRunner().invoke(app, ["info", str(out)])
    assert result.exit_code == 2
    assert "earmark.load" in result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("made_up", r"has no 'made_up'; expected one of"),
        ("number", "number of .*mynet.py gives a int; expected what earmark.wrap or earmark.load returns"),
        ("broken", "fails: ZeroDivisionError: division by zero; run it by itself"),
    ],
)
def test_what_is_wrong_with_the_file_is_named(mynet: Path, name: str, message: str) -> None:
    result = CliRunner().invoke(app, ["info", f"{mynet}:{name}"])
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["info", f"{tmp_path}/no.py:make"])
    assert result.exit_code == 2
    assert "there is no file" in result.stderr
