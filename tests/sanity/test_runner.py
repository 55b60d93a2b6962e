"""Steps are done once and whole, what fails is told and passed over, class means know no clip they meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from earmark.errors import DataError, RecipeError
from earmark.evaluation.protocol import Material
from earmark.evaluation.results import Journal
from earmark.explainers.base import Explainer
from earmark.explainers.base import find as find_method
from earmark.sanity.base import Bench, Check, Row, Step, Verdict, find, names
from earmark.sanity.recipe import SanityRecipe
from earmark.sanity.rows import DONE, LAYOUT, of_check, read_checks
from earmark.sanity.runner import run_checks
from explainers.networks import RATE, Cue

SAME = {"model": "toy", "earmark": "0", "torch": "0", "recipe": "a"}


class Counting(Check):
    """Yields how often it was run; cannot do the method "broken"."""

    name, summary = "counting", "counts"

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Step] = []

    def run(self, bench: Bench, step: Step) -> Iterator[Row]:
        self.runs.append(step)
        yield Row("times", 1.0, sound="a")
        if step.method == "broken":
            raise ValueError("no such luck\nand more")
        yield Row("times", float(len(self.runs)), sound="b")

    def table(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.groupby("method")["value"].mean().to_frame()

    def verdicts(self, rows: pd.DataFrame) -> list[Verdict]:
        return []


class Shown(Explainer):
    """Keeps what it is told to."""

    name = "lmac"
    keeps = 1.0

    def masks(self, stft, target, heard=None):
        return torch.full(stft.shape, self.keeps)


def make_bench(folder: Path, *methods: str) -> Bench:
    classifier = Cue().eval()
    waveform = torch.randn((3, RATE // 2), generator=torch.Generator().manual_seed(0))
    waveform[1] = 0
    material = Material(("a", "silent", "b"), waveform, torch.tensor([0, 1, 1]))
    explainers = {method: find_method("random")(classifier) for method in methods}
    return Bench(classifier, classifier, explainers, material, (0, 1, 2), None, folder)


def run(bench: Bench, check: Check, path: Path) -> pd.DataFrame:
    run_checks([check], bench, Journal(path, SAME, {check.name: "s"}, LAYOUT))
    return read_checks(path)


def test_a_failing_step_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    rows = run(make_bench(tmp_path, "broken", "sound"), Counting(), tmp_path / "sanity.csv")
    (error,) = rows[rows["error"] != ""].to_dict("records")
    assert (error["method"], error["figure"], error["error"]) == ("broken", DONE, "ValueError: no such luck")
    assert of_check(rows, "counting")["sound"].tolist() == ["a", "b"]


def test_what_is_done_is_not_done_again_and_more_methods_may_come(tmp_path: Path) -> None:
    check, path = Counting(), tmp_path / "sanity.csv"
    run(make_bench(tmp_path, "one"), check, path)
    rows = run(make_bench(tmp_path, "one", "two"), check, path)
    assert [step.method for step in check.runs] == ["one", "two"]
    assert of_check(rows, "counting")["method"].tolist() == ["one", "one", "two", "two"]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_step_that_was_cut_off_is_done_again_and_no_row_doubled(tmp_path: Path, lost: int) -> None:
    check, path = Counting(), tmp_path / "sanity.csv"
    run(make_bench(tmp_path, "one"), check, path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-lost]) + lines[-lost][:9])
    rows = run(make_bench(tmp_path, "one"), check, path)
    assert len(check.runs) == 2
    assert rows["figure"].tolist() == ["times", "times", DONE]


def test_other_settings_of_a_check_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sanity.csv"
    run(make_bench(tmp_path, "one"), Counting(), path)
    with pytest.raises(DataError, match="another sanity check: settings 's' instead of 't'"):
        Journal(path, SAME, {"counting": "t"}, LAYOUT)


def test_scenes_leave_out_silence(tmp_path: Path) -> None:
    (scene,) = make_bench(tmp_path, "one").scenes()
    assert scene.sounds.clips.tolist() == [0, 2]


def test_class_means_are_of_the_training_clips_alone(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, "random")
    control = find_method("class-mean")(bench.classifier)
    shown = Shown(bench.classifier)
    heard: list[int] = []
    shown.masks = lambda stft, target, heard_=None: heard.append(len(stft)) or torch.ones(stft.shape)  # type: ignore[method-assign]
    train = Material(("c", "d"), torch.ones(2, RATE // 2), torch.tensor([0, 1]))
    bench = Bench(
        bench.classifier,
        bench.classifier,
        {"lmac": shown, "class-mean": control},
        bench.material,
        bench.clips,
        train,
        tmp_path,
    )
    assert bench.explainer("class-mean") is bench.explainer("class-mean")
    assert heard == [1, 1]  # each training clip once, and no other


@pytest.mark.parametrize("name", names())
def test_every_check_is_found_and_says_what_it_is(name: str) -> None:
    kind = find(name)
    assert kind.name == name
    assert kind.summary.strip(".") == kind.summary != ""
    kind.Settings()


def test_wrong_names_and_settings_are_told() -> None:
    with pytest.raises(RecipeError, match=r"no check 'mrt'.*randomisation"):
        find("mrt")
    with pytest.raises(ValueError, match=r"roar.*epochs"):
        SanityRecipe(settings={"roar": {"epochs": "many"}})
