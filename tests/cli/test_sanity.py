"""`earmark sanity`: what it leaves, every kind of bad input, stopped and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import earmark.cli.sanity
from earmark.cli.main import app
from earmark.explainers.base import find
from earmark.sanity.base import names
from earmark.sanity.rows import DONE, read_checks

Run = Callable[..., Any]
QUICK = {"checks": "mixtures,heard", "methods": "loudest,random", "folds": "1", "clips": "3"}
FEW = ("settings.mixtures.snr_db=[3.0]", "settings.heard.areas=[0.2]")


@pytest.fixture
def run(model_dir: Path, data_dir: Path, tmp_path: Path) -> Run:
    """Return what runs `earmark sanity` on the tiny model and data; options as checks="a,b"."""

    def command(*more: str, settings: tuple[str, ...] = FEW, **changes: object) -> Any:
        paths = {"model": model_dir, "data": data_dir, "out": tmp_path / "out"}
        options = {name: value for name, value in (paths | QUICK | changes).items() if value is not None}
        given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        sets = [part for setting in settings for part in ("--set", setting)]
        result = CliRunner().invoke(app, ["sanity", *map(str, given), *sets, *more])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return command


def fails(monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException) -> None:
    """Let a method fail whenever it is asked for masks."""

    def masks(*_: object) -> None:
        raise error

    monkeypatch.setattr(find(method), "masks", masks)


def assert_told(result: Any, code: int, *parts: str) -> None:
    """See that a command ended with one line that says what is wrong."""
    assert result.exit_code == code, result.output
    assert len(result.stderr.splitlines()) == 1
    for part in parts:
        assert part in result.stderr


def test_rows_tables_and_figures(run: Run, tmp_path: Path) -> None:
    result, out = run(), tmp_path / "out"
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    files = ["sanity.md", "mixtures.png", "heard.png"]
    assert lines[0] == "3 clips; methods: loudest, random"
    assert lines[-3:] == [f"→ {out / name}" for name in files]
    rows = read_checks(out / "sanity.csv")
    assert {path.name for path in out.iterdir()} == {*files, "sanity.csv"}
    steps = rows[rows["figure"] == DONE][["check", "method"]].to_numpy().tolist()
    checks = {"mixtures": ["loudest", "random", "ideal"], "heard": ["loudest", "random"]}
    assert steps == [[check, method] for check, methods in checks.items() for method in methods]
    figures = rows[rows["figure"] != DONE]
    assert figures["sound"].nunique() == 3
    assert figures["sound"].str.startswith("1-").all()
    for name in ("mixtures", "heard"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        (said,) = (line for line in lines if line.startswith(f"{name}: "))
        assert find_summary(name) in said
    text = (out / "sanity.md").read_text(encoding="utf-8")
    for check, methods in checks.items():
        section = text.partition(f"## {check}\n")[2].partition("\n## ")[0]
        for method in methods:
            assert f"| {method} " in section
            assert f"**: {method}, " in section
    # What is printed is what is written.
    verdicts = [line.split(": ", 1)[1] for line in lines if line.startswith("  ")]
    assert len(verdicts) == 5
    assert all(verdict in text for verdict in verdicts)


def find_summary(name: str) -> str:
    from earmark.sanity.base import find as find_check

    return find_check(name).summary


def test_it_goes_on_where_it_stopped(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out" / "sanity.csv"
    with monkeypatch.context() as patch:
        fails(patch, "random", KeyboardInterrupt())
        stopped = run(checks="mixtures")
    assert (stopped.exit_code, "goes on from here" in stopped.stderr) == (130, True)
    before = path.read_text()
    assert set(read_checks(path)["method"]) == {"loudest"}
    # What is there is not done again: it would fail.
    fails(monkeypatch, "loudest", ValueError("asked again"))
    again = run(checks="mixtures")
    assert again.exit_code == 0, again.stderr
    assert f"holds {len(before.splitlines()) - 1} rows already" in again.stdout
    assert path.read_text().startswith(before)
    assert set(read_checks(path)["method"]) == {"loudest", "random", "ideal"}
    whole = path.read_text()
    assert run(checks="mixtures").exit_code == 0
    assert path.read_text() == whole


def test_another_run_is_not_mixed_in(run: Run) -> None:
    assert run(checks="heard", methods="loudest").exit_code == 0
    result = run(checks="heard", methods="loudest", settings=("settings.heard.areas=[0.1]",))
    assert_told(result, 1, "another sanity check", "other settings of the check", "--out")
    result = run(checks="heard", methods="loudest", clips="2")
    assert_told(result, 1, "another sanity check", "other weights or clips", "--out")


def test_a_failing_method_is_told_and_the_others_are_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "random", ValueError("no such luck\nand more"))
    result = run(checks="mixtures")
    assert_told(result, 1, "error: mixtures random", "ValueError: no such luck")
    assert "and more" not in result.output
    text = (tmp_path / "out" / "sanity.md").read_text(encoding="utf-8")
    assert "loudest" in text
    assert "random" not in text
    assert (tmp_path / "out" / "mixtures.png").exists()


def test_where_all_fails_nothing_is_drawn(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, "random", ValueError("no such luck"))
    assert_told(run(checks="heard", methods="random"), 1, "error: heard random")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sanity.csv"]


@pytest.mark.parametrize(
    ("changes", "code", "parts"),
    [
        ({"checks": "mrt"}, 2, ("no check 'mrt'", "randomisation")),
        ({"methods": "magic"}, 2, ("magic", "loudest")),
        ({"folds": "7"}, 1, ("7", "1, 2")),
        ({"folds": "one"}, 2, ("folds", "one")),
        ({"clips": "0"}, 2, ("clips",)),
        ({"settings": ("settings.heard.loud=1",)}, 2, ("heard", "loud")),
        ({"settings": ("settings.mrt.loud=1",)}, 2, ("no check 'mrt'",)),
        ({"checks": "leakage"}, 2, ("leakage", "--train-folds")),
        ({"checks": "all"}, 2, ("roar", "leakage", "--train-folds")),
        ({"folds": "1,2", "train_folds": "2"}, 2, ("share some", "choose others")),
        ({"folds": None, "train_folds": "1,2"}, 1, ("all folds", "leave one out")),
        ({"folds": None, "train_folds": "9"}, 1, ("9", "1, 2")),
        ({"methods": "class-mean"}, 2, ("class-mean", "lmac", "--train-folds")),
        ({"data": "nowhere"}, 1, ("nowhere",)),
        ({"model": "nobody"}, 2, ("nobody",)),
        ({"config": "nothing.yaml"}, 2, ("nothing.yaml",)),
    ],
)
def test_bad_input_is_told_in_a_line(
    run: Run, tmp_path: Path, changes: dict[str, Any], code: int, parts: tuple[str, ...]
) -> None:
    assert_told(run(**changes), code, *parts)
    assert not (tmp_path / "out" / "sanity.csv").exists()


def test_a_folder_per_class_has_no_folds_to_train_on(run: Run, tmp_path: Path) -> None:
    for label in ("dog", "rain"):
        (tmp_path / "flat" / label).mkdir(parents=True)
        (tmp_path / "flat" / label / "a.wav").touch()
    result = run(data=tmp_path / "flat", folds=None, train_folds="1")
    assert_told(result, 1, "a folder per class", "no folds")


def test_all_checks_are_taken_with_clips_to_train_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], Any]] = []

    def note(checks, bench, journal):
        asked.append(([check.name for check in checks], bench))

    monkeypatch.setattr(earmark.cli.sanity, "_run", note)
    result = run(checks="all", folds=None, train_folds="1", clips="all", methods="lmac,class-mean")
    assert (result.exit_code, result.stderr) == (0, "")
    ((checks, bench),) = asked
    assert checks == names()
    # What is not trained on is explained.
    assert {name[0] for name in bench.material.names} == {"2"}
    assert {name[0] for name in bench.train.names} == {"1"}
    assert len(bench.clips) == 6


def test_by_default_nothing_is_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(earmark.cli.sanity, "_run", lambda checks, bench, journal: asked.extend(checks))
    assert run(checks=None).exit_code == 0
    assert [check.name for check in asked] == ["randomisation", "road", "curves", "mixtures", "heard"]
    assert not any(check.long or check.needs_training_clips for check in asked)


def test_a_recipe_file_says_the_same_and_options_change_it(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("checks: [mixtures]\nmethods: [random]\nclips: 2\nsettings: {mixtures: {area: 0.1}}\n")
    options = dict.fromkeys(("checks", "clips"))
    result = run(config=recipe, methods="loudest", settings=FEW[:1], **options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("2 clips; methods: loudest\n")
    rows: pd.DataFrame = read_checks(tmp_path / "out" / "sanity.csv")
    assert set(rows["check"]) == {"mixtures"}
    assert set(rows["variant"]) == {"", "soft", "0.1"}
    assert set(rows["level"]) == {"", "3"}


def test_the_help_names_every_check() -> None:
    result = CliRunner().invoke(app, ["sanity", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for name in names():
        assert name in result.stdout
    for option in ("--checks", "--train-folds", "--out", "--set"):
        assert option in result.stdout
