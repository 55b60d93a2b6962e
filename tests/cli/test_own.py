"""A network in a file of one's own, through the whole command line: info, training, explanation."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.cli.own import find, of_file

NETWORK = """
from __future__ import annotations
from dataclasses import dataclass
import torch, earmark
from neighbour import LABELS
from torch import nn

@dataclass
class Settings:
    classes: int = 3

def make():
    torch.manual_seed(0)
    layers = nn.Conv1d(1, 8, 64, 32), nn.ReLU(), nn.Conv1d(8, 8, 8, 4), nn.ReLU()
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, Settings().classes))
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


def train_lmac(model: str, data: Path, out: Path, *more: object) -> str:
    settings = ["train_folds=[1]", "validate_folds=[2]", "loop.epochs=1", "decoder.channels=[4,8]"]
    changes = [part for setting in [*settings, "scenes.passes=1"] for part in ("--set", setting)]
    return run("train", "lmac", "--model", model, "--data", data, "--out", out, *changes, *more)


def test_it_is_trained_for_and_explained_from_its_file(mynet: Path, data_dir: Path, sound_file) -> None:
    tmp_path = mynet.parent
    train_lmac(f"{mynet}:make", data_dir, tmp_path / "lmac")
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
    assert "other weights" in result.stderr
    # The folder alone has no network.
    result = CliRunner().invoke(app, ["info", str(tmp_path / "lmac")])
    assert result.exit_code == 2
    assert "earmark.load" in result.stderr
    assert "--model FILE.py:NAME" in result.stderr


def test_what_is_said_after_a_training_works_and_it_is_trained_further(
    mynet: Path, data_dir: Path, sound_file
) -> None:
    train_lmac(f"{mynet}:make", data_dir, mynet.parent / "lmac")
    out, first = mynet.parent / "tuned", mynet.parent / "lmac"
    said = train_lmac(f"{mynet}:make", data_dir, out, "--finetune-from", first, "--set", "guidance.kind=sdr")
    assert json.loads((out / "recipe.json").read_text())["command"] == "fine-tuned lmac"
    add, then = said.splitlines()[-2:]
    function = add.removeprefix(f"next: add to {mynet}: ")
    mynet.write_text(f"{mynet.read_text()}\n{function}\n")
    command = then.removeprefix("then: earmark ").replace("SOUND", str(sound_file())).split()
    command += ["--out", str(mynet.parent / "out")]
    assert command[-3] == f"{mynet}:explained"
    assert "already" not in run(*command)
    assert "already explained" in run(*command)
    # A decoder that was trained again explains again.
    save_file({name: 2 * of for name, of in load_file(out / "lmac.safetensors").items()},
              out / "lmac.safetensors")  # fmt: skip
    assert "already" not in run(*command)


@pytest.mark.parametrize(
    ("name", "new", "classifier"),
    [
        ("make", "explained", "make()"),
        ("made", "explained", "made"),
        ("model", "explained", "model.classifier"),
        ("explained", "explained_again", "explained().classifier"),
    ],
)
def test_how_a_model_is_found_again_with_its_explainers(
    mynet: Path, name: str, new: str, classifier: str
) -> None:
    mynet.write_text(
        f"{NETWORK}\nmodel = earmark.Model('mine', made)\nexplained = lambda: earmark.Model('my', make())"
    )
    text = f"{mynet}:{name}"
    again, function = of_file(text, find(text), Path("a b's"))
    assert again == f"{mynet}:{new}"
    assert function == f'def {new}(): return earmark.load("a b\'s", classifier={classifier})'


def test_a_file_hides_no_package_and_one_that_fails_leaves_nothing(mynet: Path, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "torch.py"
    file.parent.mkdir()
    file.write_text(NETWORK)
    before = list(sys.path), set(sys.modules)
    assert "fails: ZeroDivisionError" in CliRunner().invoke(app, ["info", f"{file}:broken"]).stderr
    assert (sys.path, {name for name in sys.modules if "own_torch" in name}) == (before[0], set())
    assert sys.modules["torch"] is torch


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("made_up", r"has no 'made_up'; expected one of"),
        ("number", "number of .*mynet.py gives a int; expected what earmark.wrap or earmark.load returns"),
        ("broken", "fails: ZeroDivisionError: division by zero; see where, in its folder: python -c"),
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
