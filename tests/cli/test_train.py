"""`earmark train`: from a data folder to a model that explains, stopped and taken up again on the way."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import earmark.classifiers.training
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.classifiers.training import Clips
from earmark.cli.main import app
from earmark.cli.training import scorer, what_next
from earmark.explainers.lmac.decoder import DecoderConfig
from earmark.explainers.lmac.explainer import Lmac, LmacConfig
from earmark.explainers.lmac.training import LmacRecipe, criterion
from earmark.model import Model, load_model, save_model
from earmark.training import loop

TINY = ["width=0.03125", "n_mels=32", "seconds=0.5"]
SHORT = ["train_folds=[1]", "validate_folds=[2]", "loop.epochs=2", "loop.batch_size=4"]
DECODER = ["decoder.channels=[4,8]", "scenes.passes=1"]


def train(command: str, out: Path, data: Path, settings: list[str], *more: object) -> Any:
    changes = [part for setting in settings for part in ("--set", setting)]
    arguments = ["train", command, "--data", str(data), "--out", str(out), *changes, *map(str, more)]
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a classifier that two epochs of training made."""
    out = tmp_path_factory.mktemp("trained") / "net"
    result = train("classifier", out, data_dir, TINY + SHORT)
    assert result.exit_code == 0, result.stderr
    (out / "said.txt").write_text(result.stdout)
    return out


@pytest.fixture(scope="module")
def explained(trained: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of that classifier with an L-MAC."""
    out = tmp_path_factory.mktemp("explained") / "lmac"
    result = train("lmac", out, data_dir, SHORT + DECODER, "--model", trained)
    assert result.exit_code == 0, result.stderr
    return out


def test_a_classifier_leaves_a_model_its_log_and_its_curves(trained: Path) -> None:
    model = load_model(trained)
    assert model.classifier.labels == ("clock", "dog", "rain")
    assert model.explainers == {}
    with (trained / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((trained / "recipe.json").read_text())["recipe"]["width"] == 0.03125
    said = (trained / "said.txt").read_text()
    assert "6 clips of 3 classes to train on, 6 to validate" in said
    assert "epoch 2/2: loss " in said
    assert "kept epoch " in said


def test_an_lmac_explains_the_classifier_as_it_was(explained: Path, trained: Path, sound_file) -> None:
    ours, theirs = load_model(explained).classifier, load_model(trained).classifier
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    result = CliRunner().invoke(
        app, ["explain", str(sound_file()), "--model", str(explained), "--out", str(explained / "out")]
    )
    assert result.exit_code == 0, result.stderr


def test_binary_masks_of_some_areas_are_scored_each_epoch(
    trained: Path, data_dir: Path, tmp_path: Path
) -> None:
    settings = [*SHORT, *DECODER, "areas=[0.1,0.25]"]
    assert train("lmac", tmp_path / "l", data_dir, settings, "--model", trained).exit_code == 0
    with (tmp_path / "l" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"AI 0.1", "Fid-In 0.25"} <= rows[0].keys()
    for row in rows:
        values = {name: float(value) for name, value in row.items()}
        without = {name: value for name, value in values.items() if " 0." not in name}
        assert values["criterion"] != pytest.approx(criterion(without))
        assert values["criterion"] == pytest.approx(criterion(values))
    refused = train("lmac", tmp_path / "m", data_dir, [*SHORT, "areas=[0]"], "--model", trained)
    assert (refused.exit_code, "areas" in refused.stderr) == (2, True)


def test_fine_tuning_goes_on_from_an_lmac(
    explained: Path, trained: Path, data_dir: Path, tmp_path: Path
) -> None:
    settings = [*SHORT, "loop.epochs=1", "loop.learning_rate=1e-9", "guidance.kind=sdr", "scenes.passes=1"]
    options = ("--model", trained, "--finetune-from", explained)
    result = train("lmac", tmp_path / "tuned", data_dir, settings, *options)
    assert result.exit_code == 0, result.stderr
    before, after = (load_model(folder).explainers["lmac"] for folder in (explained, tmp_path / "tuned"))
    for earlier, later in zip(before.decoder.parameters(), after.decoder.parameters(), strict=True):
        torch.testing.assert_close(later, earlier, rtol=0, atol=1e-5)
    assert "fine-tuned by recipe" in after.config.description


def test_a_stopped_training_goes_on_to_the_same_end(
    trained: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, one_epoch = tmp_path / "net", loop._one_epoch

    def stop_in_second(*arguments: Any) -> Any:
        if 1 in arguments:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_one_epoch", stop_in_second)
        stopped = train("classifier", out, data_dir, TINY + SHORT)
    assert stopped.exit_code == 130
    assert stopped.stderr.strip() == "stopped; the same command goes on from the last finished epoch"
    assert not (out / "config.json").exists()
    resumed = train("classifier", out, data_dir, TINY + SHORT)
    assert "holds a started training: going on with it" in resumed.stdout
    assert "epoch 1/2" not in resumed.stdout
    ours, theirs = (load_model(folder).classifier.state_dict() for folder in (out, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_training_is_not_done_again(trained: Path, data_dir: Path) -> None:
    before = (trained / "classifier.safetensors").read_bytes()
    result = train("classifier", trained, data_dir, TINY + SHORT)
    assert result.exit_code == 0
    assert "epoch 2/2" not in result.stdout
    assert (trained / "classifier.safetensors").read_bytes() == before


def test_a_folder_of_another_training_is_left_alone(trained: Path, data_dir: Path) -> None:
    other = train("classifier", trained, data_dir, [*TINY, *SHORT, "augmentation.mixup=0.1"])
    assert (other.exit_code, "another augmentation" in other.stderr) == (2, True)
    lmac = train("lmac", trained, data_dir, SHORT + DECODER, "--model", trained)
    assert (lmac.exit_code, "training of another kind: classifier" in lmac.stderr) == (2, True)


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["colour=red"], 2, "colour: Extra inputs are not permitted"),
        (["loop.epochs=many"], 2, "loop.epochs"),
        (["width"], 2, "expected key=value"),
        (["n_mels=8"], 2, "n_mels is 8"),
        (["loop.device=abacus"], 2, "loop.device is 'abacus'"),
        (["train_folds=[7]"], 1, "has no clip of folds [7]"),
        (["labels=[dog]"], 1, "has one class, 'dog'"),
        (["labels=[dog,cat]"], 1, "no label 'cat'"),
    ],
)
def test_wrong_settings(settings: list[str], code: int, message: str, data_dir: Path, tmp_path: Path) -> None:
    result = train("classifier", tmp_path / "net", data_dir, [*TINY, *SHORT, *settings])
    assert message in result.stderr
    assert result.exit_code == code
    assert len(result.stderr.splitlines()) == 1


def test_data_that_cannot_be_used(data_dir: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "net"
    missing = train("classifier", out, data, TINY + SHORT)
    assert f"{data / 'meta' / 'esc50.csv'} does not exist" in missing.stderr
    shutil.copytree(data_dir, data)
    (data / "audio" / "1-dog-A.wav").unlink()
    row = train("classifier", out, data, TINY + SHORT)
    assert "1-dog-A.wav" in row.stderr
    (data / "audio" / "1-dog-A.wav").write_text("no sound")
    text = train("classifier", out, data, TINY + SHORT)
    assert "1-dog-A.wav" in text.stderr
    noise = train("classifier", out, data_dir, TINY + SHORT, "--noise", tmp_path / "noise")
    assert f"{tmp_path / 'noise' / 'tr'} does not exist" in noise.stderr
    for result in (missing, row, text, noise):
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


def test_urbansound8k_trains_too(data_dir: Path, tmp_path: Path) -> None:
    with (data_dir / "meta" / "esc50.csv").open() as file:
        clips = list(csv.DictReader(file))
    rows = ["slice_file_name,fold,class"]
    for clip in clips:
        folder = tmp_path / "data" / "audio" / f"fold{clip['fold']}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_dir / "audio" / clip["filename"], folder)
        rows.append(f"{clip['filename']},{clip['fold']},{clip['category']}")
    (tmp_path / "data" / "metadata").mkdir()
    (tmp_path / "data" / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows))
    result = train("classifier", tmp_path / "net", tmp_path / "data", [*TINY, *SHORT, "loop.epochs=1"])
    assert result.exit_code == 0, result.stderr
    assert "6 clips of 3 classes to train on, 6 to validate" in result.stdout


def test_a_folder_per_class_lacks_the_folds_to_train_on(data_dir: Path, tmp_path: Path) -> None:
    for label in ("dog", "rain"):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(data_dir / "audio" / f"1-{label}-A.wav", tmp_path / "data" / label)
    result = train("classifier", tmp_path / "net", tmp_path / "data", TINY + SHORT)
    assert result.exit_code == 1
    assert "training needs folds" in result.stderr
    assert "ESC-50's or UrbanSound8K's layout" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def tiny_lmac(labels: tuple[str, ...], **decoder: Any) -> Lmac:
    torch.manual_seed(0)
    classifier = Cnn14(Cnn14Config(labels=labels, width=1 / 32, n_mels=32, seconds=0.25)).eval()
    return Lmac(classifier, LmacConfig(decoder=DecoderConfig(channels=(4, 8), **decoder)))


@pytest.mark.parametrize("labels", [("dog", "rain"), ("dog", "rain", "clock")])
def test_a_class_that_is_absent_is_scored_only_where_there_is_one(labels: tuple[str, ...]) -> None:
    clips = Clips(torch.randn(4, 4000), torch.tensor([0, 1, 0, 1]))
    recipe = LmacRecipe.model_validate({"scenes": {"absent": 0.2}})
    row = scorer(tiny_lmac(labels), clips, recipe.loop.batch_size, recipe.areas, recipe.scenes.absent > 0)()
    assert "AI" in row
    assert ("absent energy" in row) == (len(labels) > 2)


def test_masks_on_features_are_not_to_be_listened_to() -> None:
    explainer = tiny_lmac(("dog", "rain"), domain="features")
    model = Model("net", explainer.classifier)
    said, command = what_next("net", model, explainer, Path("data"), Path("lmac"))
    assert said == "masks on features cannot be listened to"
    assert command == "next: earmark evaluate --model lmac --data data --domains features --out results.csv"


def test_classes_are_not_all_listed(data_dir: Path, tmp_path: Path) -> None:
    labels = (*(f"bird {number}" for number in range(200)), "Dog")
    network = tiny_lmac(labels).classifier
    save_model(Model("birds", network), tmp_path / "birds")
    result = train("lmac", tmp_path / "l", data_dir, SHORT + DECODER, "--model", tmp_path / "birds")
    assert result.exit_code == 1
    assert "have clips of clock, dog, rain alone; expected some of Dog or another of the 201" in result.stderr
    assert len(result.stderr) < 400


def test_noise_is_mixed_in(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data_dir / "audio", tmp_path / "noise" / "tr")
    heard = []
    monkeypatch.setattr(
        earmark.classifiers.training,
        "add_noise",
        lambda waveform, noises, *_: heard.append(noises) or waveform,
    )
    result = train(
        "classifier",
        tmp_path / "net",
        data_dir,
        [*TINY, *SHORT, "loop.epochs=1"],
        "--noise",
        tmp_path / "noise",
    )
    assert result.exit_code == 0
    assert {len(noises) for noises in heard} == {12}


def test_an_out_folder_that_cannot_be_written(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = train("classifier", tmp_path / "file" / "net", data_dir, TINY + SHORT)
    assert (result.exit_code, "cannot write to" in result.stderr) == (1, True)


def test_an_lmac_of_another_classifier_is_refused(
    trained: Path, model_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    options = ("--model", trained, "--finetune-from", model_dir)
    result = train("lmac", tmp_path / "net", data_dir, SHORT, *options)
    assert (result.exit_code, "was trained for another classifier" in result.stderr) == (2, True)
    options = ("--model", trained, "--finetune-from", trained)
    result = train("lmac", tmp_path / "net", data_dir, SHORT, *options)
    assert (result.exit_code, "has no trained lmac" in result.stderr) == (2, True)


def test_a_classifier_can_begin_with_another_ones_weights(
    trained: Path, data_dir: Path, tmp_path: Path
) -> None:
    # At so low a rate the network stays what it began as.
    still = ["loop.learning_rate=1e-12", "loop.weight_decay=0"]
    result = train("classifier", tmp_path / "on", data_dir, TINY + SHORT + still, "--init", trained)
    assert result.exit_code == 0, result.stderr
    ours, theirs = (load_model(folder).classifier for folder in (tmp_path / "on", trained))
    assert torch.allclose(ours.head.weight, theirs.head.weight, atol=1e-6)


def test_a_classifier_of_another_form_cannot_be_begun_with(
    trained: Path, data_dir: Path, tmp_path: Path
) -> None:
    wider = ["width=0.0625", *TINY[1:]]
    result = train("classifier", tmp_path / "on", data_dir, wider + SHORT, "--init", trained)
    assert result.exit_code == 2
    assert "another form" in result.stderr


def test_a_folder_goes_on_with_the_same_classifier_only(
    trained: Path, model_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    first = train("lmac", tmp_path / "l", data_dir, SHORT + DECODER, "--model", trained)
    assert first.exit_code == 0, first.stderr
    second = train("lmac", tmp_path / "l", data_dir, SHORT + DECODER, "--model", model_dir)
    assert second.exit_code == 2
    assert "holds a training with another --model" in second.stderr


def test_fine_tuning_stopped_and_taken_up_equals_unbroken(
    trained: Path, explained: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = [*SHORT, "scenes.passes=1", "guidance.kind=recipe", "guidance.threshold=0.1", "loop.epochs=3"]
    options = ("--model", trained, "--finetune-from", explained)
    unbroken = train("lmac", tmp_path / "a", data_dir, guided, *options)
    assert unbroken.exit_code == 0, unbroken.stderr
    save, saved = loop._save, []

    def stop_after_two(*arguments: Any) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", stop_after_two)
    assert train("lmac", tmp_path / "b", data_dir, guided, *options).exit_code == 130
    monkeypatch.undo()
    assert train("lmac", tmp_path / "b", data_dir, guided, *options).exit_code == 0
    ours, theirs = (load_model(tmp_path / name).explainers["lmac"].decoder.state_dict() for name in "ab")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_two_devices_train_to_the_log_of_one(trained: Path, data_dir: Path, tmp_path: Path) -> None:
    """The command starts itself again; what it says, it says once."""
    changes = [part for setting in TINY + SHORT for part in ("--set", setting)]
    command = [sys.executable, "-m", "earmark", "train", "classifier", "--data", str(data_dir)]
    command += ["--out", str(tmp_path / "net"), "--devices", "2", *changes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 2/2: loss ") == 1
    logs = []
    for folder in (trained, tmp_path / "net"):
        with (folder / "log.csv").open() as file:
            logs.append([float(row["loss"]) for row in csv.DictReader(file)])
    # At this rate Adam's first steps, whose size is the same for any gradient, make much of rounding.
    assert logs[1] == pytest.approx(logs[0], rel=1e-2)
    assert load_model(tmp_path / "net").classifier.labels == ("clock", "dog", "rain")
