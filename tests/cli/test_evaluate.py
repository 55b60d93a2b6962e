"""`earmark evaluate`: the results, every kind of bad input, killed and taken up again."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest
from typer.testing import CliRunner

import earmark.evaluation.evaluate
from earmark.classifiers.cnn14 import Cnn14, Cnn14Config
from earmark.cli.main import app
from earmark.data.clips import load_all
from earmark.data.datasets import read_clips
from earmark.evaluation.protocol import Material, make_sounds
from earmark.evaluation.results import FIGURES
from earmark.evaluation.runner import hear_sounds, score_masks
from earmark.model import Model, load_model

KEY = ["condition", "seed", "sound", "method", "domain", "area"]
QUICK = {"--methods": "lmac,loudest", "--conditions": "mixtures", "--areas": "soft,0.05", "--folds": "1"}
Run = Callable[..., Any]


def arguments_of(data: Path, out: Path, model: object, changes: dict[str, object]) -> list[str]:
    options = {"--data": data, "--out": out, "--model": model} | QUICK | changes
    return ["evaluate", *(str(part) for pair in options.items() if pair[1] is not None for part in pair)]


@pytest.fixture
def run(model_dir: Path, data_dir: Path, tmp_path: Path) -> Run:
    """Return what runs `earmark evaluate` on the tiny model and data; options as --methods="a,b"."""

    def command(
        data: Path = data_dir, out: Path = tmp_path / "r.csv", model: object = model_dir, **changes: object
    ) -> Any:
        options = {f"--{name}": value for name, value in changes.items()}
        result = CliRunner().invoke(app, arguments_of(data, out, model, options))
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return command


def table(path: Path) -> pandas.DataFrame:
    """Return a results file by what names its rows, without what no two runs agree in."""
    if path.suffix == ".parquet":
        frame = pandas.read_parquet(path)
    else:
        missing = {name: [""] for name in FIGURES}
        frame = pandas.read_csv(
            path,
            na_values=missing | {"area": [""]},
            keep_default_na=False,
            dtype=dict.fromkeys(FIGURES, float),
        )
    assert not frame.duplicated(KEY).any()
    return frame.set_index(KEY).drop(columns="seconds")


def assert_told(result: Any, code: int, *parts: str) -> None:
    """See that a command ended with one line that says what is wrong."""
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1
    for part in parts:
        assert part in result.stderr


def test_results(run: Run, tmp_path: Path) -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "6 clips; methods: lmac, loudest",
        f"24 rows → {tmp_path / 'r.csv'}",
        f"next: earmark tables {tmp_path / 'r.csv'}",
    ]
    with (tmp_path / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {row["sound"] for row in rows} == {
        f"1-{label}-{take}" for label in ("dog", "rain", "clock") for take in "AB"
    }
    assert {(row["protocol"], row["model"], row["recordings"]) for row in rows} == {("corrected", "tiny", "")}
    assert {row["area"] for row in rows} == {"", "0.05"}


def test_all_methods_by_default(run: Run, tmp_path: Path) -> None:
    result = run(methods=None, clips=1, areas="soft", domains="stft,features")
    assert result.exit_code == 0, result.stderr
    listed = CliRunner().invoke(app, ["methods"]).stdout.splitlines()
    quick = {line.split()[0] for line in listed if not line.endswith("; costly")}
    # The model has a trained L-MAC alone, and no attention; and zennit may not be there.
    absent = {"l2i", "piq", "lmac-td", "attention-rollout", "gradient-x-attention"}
    done = set(pandas.read_csv(tmp_path / "r.csv")["method"])
    assert done - {"lrp"} == quick - absent - {"lrp"}
    told = {line.partition(" is left out")[0] for line in result.stderr.splitlines()}
    assert told - {"lrp"} == {"attention-rollout", "gradient-x-attention"}


def test_noise_and_speech_are_mixed_in(run: Run, data_dir: Path, tmp_path: Path) -> None:
    noise, speech = tmp_path / "noise", tmp_path / "speech"
    shutil.copytree(data_dir / "audio", noise / "tt")
    shutil.copytree(data_dir / "audio", speech / "wavs")
    (speech / "metadata.csv").write_text("1-dog-A|woof|woof\n1-rain-B|drip|drip\n")
    options = {"conditions": "in-domain,speech", "noise": noise, "speech": speech}
    assert run(**options).exit_code == 0
    rows = pandas.read_csv(tmp_path / "r.csv")
    drawn = rows.groupby("condition")["interferer"].unique()
    assert set(drawn["in-domain"]) <= {path.stem for path in (noise / "tt").iterdir()}
    assert set(drawn["speech"]) <= {"1-dog-A", "1-rain-B"}
    assert rows.groupby("condition")["recordings"].nunique().tolist() == [1, 1]
    assert run(conditions="white-noise").exit_code == 0  # beside the others
    (noise / "tt" / "1-dog-A.wav").unlink()
    assert_told(run(**options), 1, "other sounds to mix in", "choose a new --out")


def test_the_paper_s_protocol_masks_log1p(run: Run, model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    assert run(protocol="paper", conditions="white-noise", areas="soft").exit_code == 0
    rows = pandas.read_csv(tmp_path / "r.csv").set_index(["method", "sound"])
    assert rows["AD"].max() <= 63.3
    model = load_model(model_dir)
    scene = scene_of(model, data_dir, "white-noise")
    for method in ("lmac", "loudest"):
        explainer = model.explainer(method).on("stft", "log1p")
        scores = score_masks(
            explainer, scene, explainer.masks(scene.stft, scene.target, scene.heard), "paper"
        )
        for name in ("AD", "FF", "MM", "SI-SDR"):
            assert rows.loc[(method, "1-dog-A"), name] == pytest.approx(
                float(scores[name][0]), rel=1e-3, abs=1e-3
            )


def scene_of(model: Model, data: Path, condition: str) -> Any:
    clips = read_clips(data, [1])
    classifier = model.classifier
    waveform, labels = load_all(clips, classifier.labels, 16000, classifier.seconds)
    material = Material(tuple(clip.name for clip in clips), waveform, labels)
    return hear_sounds(classifier, make_sounds(condition, material, [0], protocol="paper"))


def test_a_recipe_and_options_over_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("methods: [random]\nseeds: [3]\nareas: [null]\nconditions: [clean]\n")
    nothing = dict.fromkeys(("methods", "conditions"))
    assert run(config=tmp_path / "r.yaml", areas="0.1", **nothing).exit_code == 0
    rows = pandas.read_csv(tmp_path / "r.csv")
    assert [set(rows[name]) for name in ("method", "seed", "area", "condition")] == [
        {"random"},
        {3},
        {0.1},
        {"clean"},
    ]


def test_parquet_holds_the_same(run: Run, tmp_path: Path) -> None:
    for ending in ("csv", "parquet"):
        result = run(out=tmp_path / f"r.{ending}", conditions="clean,mixtures")
        assert result.exit_code == 0, result.stderr
    ours, theirs = table(tmp_path / "r.parquet"), table(tmp_path / "r.csv")
    pandas.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.parquet"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_fails_is_named(run: Run, data_dir: Path, tmp_path: Path, ending: str) -> None:
    data, out = tmp_path / "data", tmp_path / f"r.{ending}"
    shutil.copytree(data_dir, data)
    (data / "audio" / "1-rain-A.wav").write_text("no sound")
    result = run(data, out)
    assert result.exit_code == 1
    torn, count = result.stderr.splitlines()
    assert torn.startswith("error: 1-rain-A: ")
    assert "1-rain-A.wav" in torn
    assert count == "error: 4 of 24 rows failed, see the column error"
    frame = pandas.read_parquet(out) if ending == "parquet" else pandas.read_csv(out, keep_default_na=False)
    assert set(frame[frame["error"] != ""]["sound"]) == {"1-rain-A"}
    again = run(data, out)
    assert "24 rows already" in again.stdout
    assert (again.exit_code, again.stderr) == (1, result.stderr)


def test_added_work_is_all_that_is_done(
    run: Run, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data_dir / "audio", tmp_path / "noise" / "tt")
    steps = [
        ({}, 24),
        ({"methods": "loudest,random"}, 12),
        ({"conditions": "clean,mixtures"}, 24),
        ({"seeds": "0,1"}, 24),
        ({"domains": "stft,features"}, 24),
        ({"conditions": "in-domain,mixtures", "noise": tmp_path / "noise"}, 24),
        ({}, 0),
    ]
    before = 0
    for changes, added in steps:
        result = run(**changes)
        assert result.exit_code == 0, result.stderr
        assert (f"holds {before} rows already" in result.stdout) == (before > 0)
        assert len(table(tmp_path / "r.csv")) == before + added
        before += added


def test_stopped_by_a_person(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score, scored = earmark.evaluation.evaluate.Unit.score, []

    def stop_at_second(*arguments: Any) -> Any:
        scored.append(1)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(*arguments)

    assert run(out=tmp_path / "unbroken.csv").exit_code == 0
    monkeypatch.setattr(earmark.evaluation.evaluate.Unit, "score", stop_at_second)
    stopped = run()
    assert stopped.exit_code == 130
    assert stopped.stderr.strip() == "stopped; the same command goes on from here"
    assert len(table(tmp_path / "r.csv")) == 12
    resumed = run()
    assert "holds 12 rows already: going on after them" in resumed.stdout
    assert resumed.exit_code == 0
    pandas.testing.assert_frame_equal(table(tmp_path / "r.csv"), table(tmp_path / "unbroken.csv"))


def test_killed_at_any_moment(run: Run, model_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    many = {"--seeds": ",".join(map(str, range(200)))}
    command = [sys.executable, "-c", "from earmark.cli.main import run; run()"]
    process = subprocess.Popen(
        [*command, *arguments_of(data_dir, out, model_dir, many)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out.exists() and out.read_bytes().count(b"\n") > 30):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = out.read_bytes()
    assert 30 < left.count(b"\n") < 24 * 200
    assert run(seeds="0,1,2").exit_code == 0
    assert run(out=tmp_path / "unbroken.csv", seeds="0,1,2").exit_code == 0
    unbroken = table(tmp_path / "unbroken.csv")
    # Another process may add in another order; a drop of 0.2 % is a small difference of two probabilities.
    ours = table(out).loc[unbroken.index]
    pandas.testing.assert_frame_equal(ours, unbroken, check_exact=False, rtol=1e-5, atol=1e-4)
    assert out.read_bytes().startswith(left[: left.rfind(b"\n") + 1])


@pytest.mark.parametrize(
    ("changes", "code", "parts"),
    [
        ({"methods": "lmac,guess"}, 2, ["no method 'guess'", "loudest", "saliency"]),
        # A name that is wrong comes before data that is missing.
        ({"methods": "guess", "conditions": "in-domain"}, 2, ["no method 'guess'"]),
        ({"methods": "class-mean"}, 2, ["class-mean", "add lmac"]),
        ({"methods": ","}, 2, ["methods"]),
        (
            {"conditions": "mixtures,rain"},
            2,
            ["no condition rain", "clean, in-domain, mixtures, white-noise, speech"],
        ),
        ({"domains": "time"}, 2, ["domains", "'stft' or 'features'"]),
        ({"areas": "0"}, 2, ["areas", "between 0 and 1"]),
        ({"areas": "soft,1.5"}, 2, ["areas", "between 0 and 1"]),
        (
            {"areas": "large"},
            2,
            ["settings: areas.0: Input should be a valid number", "(given 'large'); known"],
        ),
        ({"seeds": "soft"}, 2, ["seeds", "valid integer"]),
        ({"seeds": "-1"}, 2, ["seeds"]),
        ({"protocol": "new"}, 2, ["protocol", "'corrected' or 'paper'"]),
        ({"folds": "one"}, 2, ["folds", "'one'"]),
        ({"folds": "7"}, 1, ["no clip of folds [7]"]),
        ({"clips": "0"}, 2, ["clips"]),
        ({"model": "nobody"}, 2, ["nobody"]),
        ({"device": "abacus"}, 2, ["abacus"]),
        ({"config": "none.yaml"}, 2, ["none.yaml"]),
        ({"conditions": "clean,in-domain"}, 2, ["in-domain", "needs --noise", "--conditions clean"]),
        ({"conditions": "speech"}, 2, ["speech", "needs --speech", "--conditions mixtures,white-noise"]),
        ({"conditions": "in-domain", "noise": "nowhere"}, 1, ["nowhere/tt does not exist"]),
        ({"conditions": "speech", "speech": "nowhere"}, 1, ["nowhere/metadata.csv does not exist"]),
        ({"data": Path("nowhere")}, 1, ["there is no folder nowhere"]),
        ({"out": Path("results.txt")}, 2, ["results.txt", ".csv or .parquet"]),
        ({"out": Path("results")}, 2, [".csv or .parquet"]),
        ({"out": Path("new/results.txt"), "data": Path("nowhere")}, 2, [".csv or .parquet"]),
    ],
)
def test_wrong_usage(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    code: int,
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_told(run(**changes), code, *parts)
    assert list(tmp_path.iterdir()) == []


def test_out_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_told(run(out=tmp_path / "file" / "r.csv"), 1, "cannot write to")
    for ending in ("csv", "parquet"):
        (tmp_path / f"folder.{ending}").mkdir()
        assert_told(run(out=tmp_path / f"folder.{ending}"), 1, "it is a folder")
    (tmp_path / "poem.csv").write_text("roses are red")
    assert_told(run(out=tmp_path / "poem.csv"), 1, "is no results file", "choose a new --out")
    assert (tmp_path / "poem.csv").read_text() == "roses are red"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(run: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_told(run(out=tmp_path / "locked" / "r.csv"), 1, "cannot write to")


def test_a_folder_for_the_results_is_made(run: Run, tmp_path: Path) -> None:
    assert run(out=tmp_path / "a" / "b" / "r.csv", methods="loudest").exit_code == 0
    assert len(table(tmp_path / "a" / "b" / "r.csv")) == 12


def test_results_of_another_evaluation_are_left_alone(
    run: Run, make_tiny: Callable[[], Model], model_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    assert run(methods="loudest").exit_code == 0
    before = (tmp_path / "r.csv").read_bytes()
    other = tmp_path / "other" / "tiny"
    shutil.copytree(model_dir, other)
    changed = make_tiny()
    changed.classifier.head.weight.data.add_(1)
    earmark.model.save_model(changed, other)
    for changes, what in {
        "protocol": ({"protocol": "paper"}, "protocol 'corrected' instead of 'paper'; choose"),
        "clips": ({"folds": "1,2"}, "other weights or clips"),
        "model": ({"model": other}, "other weights or clips"),
    }.values():
        assert_told(run(methods="loudest", **changes), 1, "holds results of another evaluation", what)
    (tmp_path / "r.csv").write_bytes(before.replace(b",tiny,0.1", b",tiny,0.0"))
    older = (tmp_path / "r.csv").read_bytes()
    assert older != before
    assert_told(run(methods="loudest"), 1, "earmark '0.0")
    assert (tmp_path / "r.csv").read_bytes() == older


def relabelled(data: Path, into: Path, labels: dict[str, str]) -> Path:
    """Copy a data set with other names for its classes."""
    shutil.copytree(data, into)
    text = (into / "meta" / "esc50.csv").read_text()
    for old, new in labels.items():
        text = text.replace(f",{old}\n", f",{new}\n")
    (into / "meta" / "esc50.csv").write_text(text)
    return into


def test_classes_that_the_model_does_not_know(run: Run, data_dir: Path, tmp_path: Path) -> None:
    some = run(relabelled(data_dir, tmp_path / "some", {"dog": "wolf"}))
    assert some.exit_code == 0
    assert "2 clips of classes that the model does not know are left out: wolf" in some.stdout
    assert set(pandas.read_csv(tmp_path / "r.csv")["label"]) == {"rain", "clock"}
    none = relabelled(data_dir, tmp_path / "none", {"dog": "wolf", "rain": "snow", "clock": "bell"})
    assert_told(run(none), 1, "has the classes bell, snow, wolf", "dog, rain, clock")
    many = Cnn14(Cnn14Config(labels=(*(f"bird {n}" for n in range(200)), "Snow"), width=1 / 32, n_mels=32))
    earmark.model.save_model(Model("many", many), tmp_path / "many")
    told = run(none, out=tmp_path / "q.csv", model=tmp_path / "many", methods="loudest")
    assert_told(told, 1, "some that the model knows: Snow or another of the 201 that `earmark info` lists")
    assert len(told.stderr) < 400


def test_one_class_has_none_to_mix_with(run: Run, data_dir: Path, tmp_path: Path) -> None:
    one = relabelled(data_dir, tmp_path / "one", {"rain": "dog", "clock": "dog"})
    assert_told(run(one), 1, "one class", "leave the condition mixtures out")
    assert run(one, conditions="white-noise", methods="all-ones").exit_code == 0


def test_clips_of_one_name_are_refused(run: Run, data_dir: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice"
    shutil.copytree(data_dir, twice)
    with (twice / "meta" / "esc50.csv").open("a") as file:
        file.write("1-dog-A.wav,1,0,dog\n")
    assert_told(run(twice), 1, "2 clips named '1-dog-A'")


def test_a_model_without_a_trained_explainer(
    run: Run, make_tiny: Callable[[], Model], tmp_path: Path
) -> None:
    tiny = make_tiny()
    bare = tmp_path / "bare"
    earmark.model.save_model(Model("bare", tiny.classifier), bare)
    assert_told(run(model=bare), 2, "has no trained 'lmac'")
    result = run(model=bare, methods=None, clips=1, areas="0.05")
    assert result.exit_code == 0, result.stderr
    methods = set(pandas.read_csv(tmp_path / "r.csv")["method"])
    assert not methods & {"lmac", "class-mean"}
    assert {"loudest", "saliency"} <= methods


def test_help_shows_examples() -> None:
    for arguments in (["evaluate", "--help"], ["evaluate"]):
        shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        text = shown.output
        assert (
            "earmark evaluate --data ESC-50 --folds 5 --conditions mixtures,white-noise --out results.csv"
            in text
        )
        assert "earmark tables results.csv" in text
