"""`earmark explain`: good input, every kind of bad input, exit codes, and files whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from typer.testing import CliRunner

import earmark.recording
from earmark.cli.main import app
from earmark.explanation import Explanation

ENDINGS = ("json", "listen.wav", "png", "rest.wav")
SoundFile = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Explanation, "plot", lambda self: Figure(figsize=(1, 1)))
    monkeypatch.setattr(earmark.recording, "draw", lambda *_: None)


@pytest.fixture
def run(model_dir: Path, tmp_path: Path):
    """Return what runs `earmark explain` with the tiny model and `tmp_path/out`."""

    def command(*arguments: object, model: object = model_dir, out: object = tmp_path / "out"):
        options = ["--model", str(model), "--out", str(out)]
        result = CliRunner().invoke(app, ["explain", *map(str, arguments), *options])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return command


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def files_of(*stems: str) -> list[str]:
    return sorted(f"{stem}.{ending}" for stem in stems for ending in ENDINGS)


def test_one_file(run, sound_file: SoundFile, tmp_path: Path) -> None:
    path = sound_file("dog.wav")
    result = run(path)
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    values = json.loads((tmp_path / "out" / "dog.json").read_text())
    scores, label = values["scores"], values["label"]
    assert line == (
        f"{path}: {label} {100 * values['probability']:.0f} % · kept {100 * values['kept']:.0f} % of the"
        f" picture, alone: {label} {100 * scores['probability_in']:.0f} %, without it: {label}"
        f" {100 * scores['probability_out']:.0f} % → {tmp_path / 'out' / 'dog.listen.wav'}"
    )
    assert written(tmp_path / "out") == files_of("dog")
    assert soundfile.info(tmp_path / "out" / "dog.listen.wav").frames == values["samples"] == 16000


def test_another_target_says_what_was_decided(run, sound_file: SoundFile) -> None:
    path = sound_file()
    decision = json.loads(run(path, "--json").stdout)["decision"]
    other = next(label for label in ("dog", "rain", "clock") if label != decision)
    result = run(path, "--target", other)
    assert f": {other} " in result.stdout
    assert f"(decided: {decision})" in result.stdout


@pytest.mark.parametrize(("option", "value"), [("--threshold", 0.5), ("--area", 0.1)])
def test_hard_masks(run, sound_file: SoundFile, option: str, value: float) -> None:
    values = json.loads(run(sound_file(), option, value, "--json").stdout)
    assert values[option.strip("-")] == value
    assert option == "--threshold" or values["kept"] == pytest.approx(value, abs=1e-3)


def test_json_is_one_object_per_input(run, sound_file: SoundFile, tmp_path: Path) -> None:
    paths = [sound_file("a.wav"), tmp_path / "none.wav", sound_file("b.flac")]
    result = run(*paths, "--json")
    first, failed, last = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert [entry["input"] for entry in (first, failed, last)] == list(map(str, paths))
    assert set(failed) == {"input", "error"}
    assert first["files"] == [
        str(tmp_path / "out" / f"a.{end}") for end in ("listen.wav", "rest.wav", "png", "json")
    ]
    saved = json.loads((tmp_path / "out" / "b.json").read_text())
    assert {key: last[key] for key in saved} == saved


def test_inputs_of_one_name_do_not_overwrite_one_another(run, sound_file: SoundFile, tmp_path: Path) -> None:
    names = ["x/dog.wav", "y/dog.wav", "z/DOG.flac", "x/dog-2.wav"]
    result = run(*(sound_file(name, seed=seed) for seed, name in enumerate(names)))
    assert result.exit_code == 0
    assert written(tmp_path / "out") == files_of("dog", "dog-2", "DOG-3", "dog-2-2")
    inputs = [
        json.loads((tmp_path / "out" / f"{stem}.json").read_text())["input"] for stem in ("dog", "dog-2-2")
    ]
    assert inputs == [str(tmp_path / names[0]), str(tmp_path / names[3])]


def write_float(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples, 16000, subtype="FLOAT")


def truncate(path: Path) -> None:
    write_float(path, np.ones(16000))
    path.write_bytes(path.read_bytes()[:20000])


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (Path.mkdir, "is a folder; expected sound files; pass .*bad.wav/[*].wav"),
    "empty": (Path.touch, "is empty"),
    "text": (lambda path: path.write_text("I am no sound\n"), "cannot be read"),
    "truncated": (truncate, "is truncated"),
    "nan": (lambda path: write_float(path, np.full(16000, np.nan)), "NaN or infinite"),
    "infinite": (lambda path: write_float(path, np.r_[np.ones(16000), np.inf]), "NaN or infinite"),
    "silence": (lambda path: write_float(path, np.zeros(16000)), "is silent"),
    "one sample": (lambda path: write_float(path, np.ones(1)), "has 1 samples"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_input_is_named_and_the_others_are_done(
    name: str, run, sound_file: SoundFile, tmp_path: Path
) -> None:
    make, message = BAD[name]
    bad = tmp_path / "bad.wav"
    make(bad)
    result = run(sound_file("a.wav"), bad, sound_file("b.wav"))
    assert result.exit_code == 1
    error, summary = result.stderr.splitlines()
    assert error.startswith(f"error: {bad} ")
    assert "; " in error  # the fix
    assert re.search(message, error)
    assert summary == "error: 1 of 3 inputs failed"
    assert len(result.stdout.splitlines()) == 2
    assert written(tmp_path / "out") == files_of("a", "b")


@pytest.mark.parametrize(
    ("rate", "channels", "ending"), [(192_000, 1, "wav"), (48_000, 8, "wav"), (8000, 2, "ogg")]
)
def test_odd_but_good_input(run, sound_file: SoundFile, rate: int, channels: int, ending: str) -> None:
    result = run(sound_file(f"odd.{ending}", rate=rate, channels=channels), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["samples"] == 16000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "cat"], "no class 'cat'; expected one of dog, rain, clock"),
        (["--method", "magic"], "no method 'magic'; expected one of"),
        (["--device", "blah"], "no device 'blah'"),
        (["--threshold", "2"], "threshold is 2.0; expected"),
        (["--area", "0"], "area is 0.0; expected"),
        (["--area", "0.1", "--threshold", "0.5"], "both threshold 0.5 and area 0.1"),
        (["--contrast", "dog", "cat"], "no class 'cat'"),
        (["--contrast", "dog", "dog"], "targets are dog, dog; expected different classes"),
        (["--top", "4"], "top is 4; expected a number of classes, 1 to 3"),
        (["--top", "2", "--target", "dog"], "--target, --contrast and --top exclude one another"),
        (["--overlap", "0.7"], "overlap is 0.7; expected"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], message: str, run, sound_file: SoundFile, tmp_path
) -> None:
    result = run(sound_file(), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert written(tmp_path / "out") == []


def test_a_model_that_cannot_be_used(run, sound_file: SoundFile, model_dir: Path, tmp_path: Path) -> None:
    path, broken = sound_file(), tmp_path / "model"
    shutil.copytree(model_dir, broken)
    results = {"no model 'nope'": run(path, model="nope")}
    (broken / "lmac.safetensors").write_bytes(b"broken")
    results["lmac.safetensors is damaged"] = run(path, model=broken)
    (broken / "lmac.safetensors").unlink()
    results["lmac.safetensors is missing"] = run(path, model=broken)
    for message, result in results.items():
        assert message in result.stderr
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1


def test_an_output_folder_that_cannot_be_written(run, sound_file: SoundFile, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/earmark"):
        result = run(sound_file(), out=out)
        assert result.exit_code == 1
        assert f"error: cannot write to {out}: " in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_full_disk_leaves_nothing_and_the_others_are_done(
    run, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [sound_file("a.wav"), sound_file("b.wav")]
    to_dict = Explanation.to_dict

    def full(self: Explanation) -> dict[str, object]:
        if self.source == str(paths[0]):
            raise OSError(28, "No space left on device")
        return to_dict(self)

    monkeypatch.setattr(Explanation, "to_dict", full)
    result = run(*paths)
    assert result.exit_code == 1
    assert "error: cannot write a.* in" in result.stderr
    assert written(tmp_path / "out") == files_of("b")


def test_ctrl_c_stops_in_one_line(run, sound_file: SoundFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Explanation, "save", stop)
    result = run(sound_file())
    assert result.exit_code == 130
    assert result.stderr.split() == ["stopped"]


def test_a_long_sound_has_a_timeline(run, sound_file: SoundFile, tmp_path: Path) -> None:
    paths = [sound_file("a.wav"), sound_file("night.flac", seconds=2.5, rate=8000), sound_file("b.wav")]
    result = run(*paths)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == list(map(str, paths))
    values = json.loads((tmp_path / "out" / "night.json").read_text())
    count, label = len(values["timeline"]), values["label"]
    assert count == 3
    assert lines[1] == (
        f"{paths[1]}: {label} {100 * values['probability']:.0f} % over 3 windows ({label} 3) · kept"
        f" {100 * values['kept']:.0f} % of the picture"
        f" · what each window decided for: {100 * values['scores']['probability']:.0f} %,"
        f" of the kept part alone {100 * values['scores']['probability_in']:.0f} %,"
        f" without it {100 * values['scores']['probability_out']:.0f} %"
        f" → {tmp_path / 'out' / 'night.listen.wav'}"
    )
    assert written(tmp_path / "out") == sorted([*files_of("a", "b", "night"), "night.timeline.csv"])


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_a_contrast_gives_both_side_by_side(
    seconds: float, run, sound_file: SoundFile, tmp_path: Path
) -> None:
    result = run(sound_file("farm.wav", seconds=seconds), "--contrast", "rain", "dog")
    assert result.exit_code == 0
    assert [re.search(r": (\w+) .*kept .* % of", line)[1] for line in result.stdout.splitlines()] == [  # type: ignore[index]
        "rain",
        "dog",
    ]
    sounds = [f"farm.{label}.{end}" for label in ("dog", "rain") for end in ("listen.wav", "rest.wav")]
    tables = ["farm.dog.timeline.csv", "farm.rain.timeline.csv"] if seconds > 1 else []
    assert written(tmp_path / "out") == sorted([*sounds, *tables, "farm.contrast.png", "farm.json"])
    values = json.loads((tmp_path / "out" / "farm.json").read_text())
    assert [one["label"] for one in values["explanations"]] == ["rain", "dog"]


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_the_most_probable_classes(seconds: float, run, sound_file: SoundFile, tmp_path: Path) -> None:
    values = json.loads(run(sound_file("a.wav", seconds=seconds), "--top", 2, "--json").stdout)
    first, second = values["explanations"]
    assert first["probability"] > second["probability"]
    assert first["label"] == first["decision"] != second["label"]
    assert set(written(tmp_path / "out")) == {Path(file).name for file in values["files"]}


@pytest.mark.parametrize("options", [[], ["--top", "2"], ["--contrast", "dog", "rain"]])
def test_what_is_explained_is_not_explained_again(
    options: list[str], run, sound_file: SoundFile, tmp_path: Path
) -> None:
    paths = [sound_file("a.wav"), sound_file("long.wav", seconds=2.5)]
    run(*paths, *options)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}

    def unchanged() -> list[bool]:
        return [file.stat().st_mtime_ns == time for file, time in before.items()]

    result = run(*paths, *options)
    assert result.exit_code == 0
    assert [line.split(": ")[1] for line in result.stdout.splitlines()] == [
        f"already explained → {tmp_path / 'out' / name}"
        for name in (
            json.loads(line)["files"][0] for line in run(*paths, *options, "--json").stdout.splitlines()
        )
        for name in [Path(name).name]
    ]
    assert all(unchanged())
    assert not any([run(*paths, *options, "--again").exit_code, *unchanged()])


@pytest.mark.parametrize("missing", ["input", "timeline", "label"])
def test_a_json_that_lacks_something_is_made_anew(
    missing: str, run, sound_file: SoundFile, tmp_path: Path
) -> None:
    path, written = sound_file("a.wav"), tmp_path / "out" / "a.json"
    options = ["--top", "2"] if missing == "label" else []
    values = json.loads(run(path, *options, "--json").stdout)
    for one in (values, *values.get("explanations", [])):
        one.pop(missing, None)
    written.write_text(json.dumps(values))
    result = run(path, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "already" not in result.stdout
    assert missing in written.read_text()


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_names_that_are_no_text(seconds: float, run, sound_file: SoundFile, tmp_path: Path) -> None:
    bad = tmp_path / os.fsdecode(b"n\xefght.wav")
    sound_file("a.wav", seconds=seconds).rename(bad)
    result = run(bad, bad.with_name(os.fsdecode(b"n\xefne.wav")), "--json")
    first, failed = map(json.loads, result.stdout.splitlines())
    assert (first["input"], result.exit_code) == (str(tmp_path / "n\ufffdght.wav"), 1)
    assert failed["input"] == str(tmp_path / "n\ufffdne.wav")
    assert written(tmp_path / "out") == sorted(
        [*files_of("n_ght"), *(["n_ght.timeline.csv"] if seconds > 1 else [])]
    )


@pytest.mark.parametrize("change", ["sound", "option", "model", "file"])
def test_what_has_changed_is_explained_again(
    change: str, run, sound_file: SoundFile, model_dir: Path, tmp_path: Path
) -> None:
    path, model = sound_file("a.wav"), tmp_path / "model"
    shutil.copytree(model_dir, model)
    run(path, model=model)
    changes: dict[str, Callable[[], object]] = {
        "sound": lambda: sound_file("a.wav", seed=1),
        "option": lambda: None,
        "model": lambda: os.utime(model / "lmac.safetensors", ns=(1, 1)),
        "file": (tmp_path / "out" / "a.rest.wav").unlink,
    }
    changes[change]()
    result = run(path, *(["--area", 0.3] if change == "option" else []), model=model)
    assert "already" not in result.stdout
    assert written(tmp_path / "out") == files_of("a")


def test_a_stopped_long_sound_goes_on(
    run, sound_file: SoundFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sound_file("long.wav", seconds=9.5)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(earmark.recording.Track, "end", stop)
        result = run(path)
    assert result.exit_code == 130
    assert result.stderr.strip() == f"stopped; the same command goes on with {path}"
    monkeypatch.setattr(earmark.explaining.Request, "findings", stop)  # which nothing is left for
    assert run(path).exit_code == 0
    assert written(tmp_path / "out") == sorted([*files_of("long"), "long.timeline.csv"])


def test_more_than_a_batch_of_inputs_with_bad_ones_among_them(
    run, sound_file: SoundFile, tmp_path: Path
) -> None:
    paths = [sound_file(f"{number}.wav", seconds=0.1 * number + 0.1) for number in range(12)]
    bad = tmp_path / "bad.wav"
    truncate(bad)
    result = run(*paths[:5], bad, *paths[5:], "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["input"] for line in lines] == list(map(str, [*paths[:5], bad, *paths[5:]]))
    assert ["error" in line for line in lines] == [line["input"] == str(bad) for line in lines]


def test_the_installed_command_ends_as_it_should(
    model_dir: Path, sound_file: SoundFile, tmp_path: Path
) -> None:
    # pyplot would look for a window system.
    code = (
        "import sys, earmark.cli.main\ntry: earmark.cli.main.run()\nfinally: assert PYPLOT not in sys.modules"
    )
    program = [sys.executable, "-c", code.replace("PYPLOT", "'matplotlib.pyplot'")]
    paths = [str(sound_file("a.wav")), str(tmp_path / "none.wav")]
    done = subprocess.run(
        [*program, "explain", *paths, "--model", str(model_dir)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},  # which has no arrow
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert written(tmp_path / "explained") == files_of("a")
