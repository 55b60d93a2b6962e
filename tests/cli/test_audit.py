"""`earmark audit` on a network that leans on a line, by design, and on one that leans on nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from earmark.cli.main import app

RATE, SECONDS, LINE = 4000, 2, 1375
NETWORK = """
import earmark, torch
from torch import nn

class Ear(nn.Module):
    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def forward(self, waveform):
        magnitude = torch.fft.rfft(waveform).abs()
        part = magnitude[:, self.first : self.last].mean(1) / magnitude.mean(1)
        return torch.stack([torch.full_like(part, 3.0), 3 * part - 3], 1)

def of(first, last):
    return earmark.wrap(Ear(first, last), sample_rate=4000, labels=("plain", "fan"), seconds=2.0, layout="bt")

def leans():
    return of(2745, 2755)  # half a hertz a bin

def deaf():
    return of(0, 4001)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six noises, and six with a line."""
    folder, chance = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    line = np.sin(2 * np.pi * LINE / RATE * np.arange(SECONDS * RATE))
    for label, level in (("plain", 0.0), ("fan", 0.1)):
        (folder / label).mkdir()
        for take in range(6):
            sound = 0.1 * chance.standard_normal(SECONDS * RATE) + level * line
            soundfile.write(folder / label / f"take {take}.wav", sound, RATE)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ear.py"
    path.write_text(NETWORK)
    return path


def run(model: object, data: Path, *more: object) -> Any:
    arguments = ["audit", "--model", model, "--data", data, "--method", "saliency", *more]
    return CliRunner().invoke(app, [str(part) for part in arguments])


def test_a_line_is_told_written_and_can_be_heard(file: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(f"{file}:leans", data, "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    plain, fan, listen, arrow = result.stdout.splitlines()
    assert plain == "plain: leans on nothing suspicious (6 clips)"
    assert fan.startswith("fan: leans on hum (a line at 1375 Hz), in 6 of 6 clips (0 % of others): ")
    assert listen.startswith("  listen to: fan/take ")
    assert arrow == f"→ {out / 'audit.json'}"
    found = json.loads((out / "audit.json").read_text())
    [finding] = found["findings"]
    assert (finding["label"], finding["suspect"], len(finding["clips"])) == ("fan", "hum", 5)
    rows = list(csv.DictReader((out / "audit.csv").open()))
    assert [row["clip"] for row in rows] == finding["clips"]
    assert {path.name for path in out.iterdir()} == {"audit.json", "audit.csv", *found["files"]}
    assert found["files"][0] == f"fan.hum.{finding['clips'][0].replace('/', '_')}.wav"
    sound, rate = soundfile.read(out / found["files"][0])
    assert (len(sound), rate) == (SECONDS * RATE, RATE)
    # What is kept is the line above all else.
    assert np.abs(np.fft.rfft(sound)).argmax() == LINE * SECONDS


def test_json_is_one_strict_object(file: Path, data: Path) -> None:
    result = run(f"{file}:leans", data, "--json")
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert result.stdout.count("\n") == 1
    assert found["classes"] == [
        {"label": "plain", "clips": 6, "asked": True},
        {"label": "fan", "clips": 6, "asked": True},
    ]
    assert [finding["suspect"] for finding in found["findings"]] == ["hum"]


def test_few_clips_and_one_decision_are_no_ground_to_tell(file: Path, data: Path) -> None:
    for options in (("leans", "--clips", 4), ("deaf",)):
        result = run(f"{file}:{options[0]}", data, *options[1:])
        assert result.exit_code == 0
        assert [line.split(" (")[0] for line in result.stdout.splitlines()] == [
            "plain: cannot tell",
            "fan: cannot tell",
        ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--folds", "one"), "numbers such as 1,2,3"),
        (("--method", "class-mean"), "can only be evaluated"),
        (("--method", "guess"), "there is no method 'guess'"),
    ],
)
def test_wrong_usage_is_one_line(file: Path, data: Path, options: tuple[str, str], told: str) -> None:
    result = run(f"{file}:leans", data, *options)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert told in result.stderr
