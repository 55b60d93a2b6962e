"""`earmark import`: a folder that explains, and errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from typer.testing import CliRunner, Result

from earmark.cli.main import app
from originals import LABELS, sound, write_panns, write_recipe


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_panns(tmp_path: Path) -> None:
    result = run("panns", write_panns(tmp_path / "cnn6.pth"), "--out", tmp_path / "cnn6", "--half")
    assert result.exit_code == 0
    assert "527 classes, several at once, heard 10 s at a time, explained by nothing yet" in result.stdout
    assert result.stdout.endswith(
        f"next: earmark explain SOUND --model {tmp_path / 'cnn6'} --method gradcam\n"
    )
    config = json.loads((tmp_path / "cnn6" / "config.json").read_text())
    assert config["classifier"]["kind"] == "panns"
    assert config["classifier"]["multi_label"]


def test_fine_tuned_panns(tmp_path: Path) -> None:
    names = tmp_path / "birds.txt"
    names.write_text("wren\nrobin\n")
    head = {"fc_audioset.weight": torch.zeros(2, 32), "fc_audioset.bias": torch.zeros(2)}
    path = write_panns(tmp_path / "cnn6.pth", **head)
    assert run("panns", path, "--labels", names, "--single-label", "--out", tmp_path / "out").exit_code == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())["classifier"]
    assert (config["labels"], config["multi_label"]) == (["wren", "robin"], False)


def test_the_recipe_explains_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    result = run("speechbrain", write_recipe(folder), "--out", tmp_path / "model")
    assert result.exit_code == 0
    assert "50 classes, heard 5 s at a time, explained by lmac" in result.stdout
    soundfile.write(tmp_path / "a.wav", sound(16000, 1.0)[0].numpy(), 16000)
    arguments = [
        "explain",
        tmp_path / "a.wav",
        "--model",
        tmp_path / "model",
        "--out",
        tmp_path / "explained",
    ]
    explained = CliRunner().invoke(app, list(map(str, arguments)))
    assert explained.exit_code == 0, explained.output
    assert any(label in explained.stdout for label in LABELS)


def test_files_of_the_recipe_may_lie_elsewhere_and_the_decoder_may_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    write_recipe(folder)
    labels, psi = tmp_path / "labels.txt", tmp_path / "psi.ckpt"
    (folder / "label_encoder.txt").rename(labels)
    (folder / "psi_model.ckpt").rename(psi)
    result = run("speechbrain", folder, "--labels", labels, "--out", tmp_path / "bare")
    assert (result.exit_code, "no lmac" in result.stdout) == (0, True)
    result = run("speechbrain", folder, "--labels", labels, "--psi", psi, "--out", tmp_path / "full")
    assert (result.exit_code, "no lmac" in result.stdout) == (0, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["panns", "{}/none.pth"], "none.pth is missing"),
        (["speechbrain", "{}/none"], "none is missing; expected a folder with embedding_model.ckpt"),
        (["speechbrain", "{}/recipe", "--psi", "{}/none.ckpt"], "none.ckpt is missing"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    write_recipe(tmp_path / "recipe")
    result = run(*(part.format(tmp_path) for part in arguments), "--out", tmp_path / "out" / "of" / "it")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["panns", "speechbrain", "hf"])
def test_a_folder_that_cannot_be_written_comes_first(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run(command, tmp_path / "none", "--out", tmp_path / "file" / "out")
    assert (result.exit_code, "cannot write to" in result.stderr) == (1, True)


def test_how_many_classes_may_hold_is_said_alike() -> None:
    for command in ("panns", "hf"):
        said = CliRunner().invoke(app, ["import", command, "--help"], env={"COLUMNS": "200"}).stdout
        assert "--multi-label" in said
        assert "--single-label" in said


@pytest.mark.parametrize("command", ["panns", "speechbrain"])
def test_help_has_examples(command: str) -> None:
    assert f"earmark import {command}" in run(command, "--help").stdout.split("Examples")[1]
