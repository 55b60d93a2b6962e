"""Without a planted cue a new network is at chance, without random bins it is not; nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from pandas import DataFrame
from safetensors.torch import load_file
from torch import Tensor

from earmark.evaluation.protocol import Material
from earmark.explainers.base import Explainer
from earmark.report.checks.roar import draw
from earmark.sanity.base import Bench, Row, Step
from earmark.sanity.roar import RANDOM, Roar, RoarSettings
from earmark.sanity.rows import frame_of
from earmark.training import loop
from explainers.networks import Cue
from sanity.benches import SAMPLES, bench, cues, material, noises, run

QUICK = {"shares": (0.5,), "seeds": (0,), "n_mels": 32, "pool": 1, "learning_rate": 1e-2}
NAN = float("nan")


BINS = torch.zeros(65, dtype=torch.bool)
"""Both bands with what leaks beside them: 46 % of the bins."""
for _start, _stop in Cue.ROWS:
    BINS[_start - 3 : _stop + 4] = True


class Bands(Explainer):
    """The truth, whatever the class is: holes that tell nothing."""

    asked = 0

    def masks(self, stft, target, heard=None):
        self.asked += len(stft)
        return BINS.float()[None, :, None].expand(stft.shape)


def told_apart(clips: int, seed: int, start: str) -> Material:
    """Make noises in which one band or the other tells the class, and nothing else does."""
    labels: Tensor = torch.arange(clips) % 2
    if start == "held":
        labels = labels.sort().values  # another order, so that clips cannot be taken for one another
    faded = cues(labels, 0.0, seed) * torch.hann_window(SAMPLES)  # an edge is a click of all frequencies
    return material(faded + 0.05 * noises(clips, seed + 1), labels, start)


def make_bench(folder: Path, clips: int = 32) -> Bench:
    classifier = Cue()
    held_out = told_apart(24, 10, "held")
    return bench(classifier, {"bands": Bands(classifier)}, held_out, folder, told_apart(clips, 20, "train"))


def test_a_network_without_the_cue_is_at_chance_and_without_random_bins_is_not(tmp_path: Path) -> None:
    check = Roar(RoarSettings(**QUICK, epochs=10))
    on = make_bench(tmp_path)
    rows = run(check, on)
    accuracy = rows.groupby("method")["value"].mean()
    assert accuracy[""] > 0.9
    assert accuracy[RANDOM] > 0.9
    assert accuracy["bands"] < 0.7  # 24 clips at chance: 0.5 ± 0.1
    table = check.table(rows)
    assert table.loc["bands", "without 50%"] == pytest.approx(100 * accuracy["bands"])
    assert isinstance(draw(rows, tmp_path), Figure)


def test_what_was_trained_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, on = Roar(RoarSettings(**QUICK, epochs=1)), make_bench(tmp_path, clips=8)
    first = run(check, on)
    asked = on.explainers["bands"].asked
    assert asked == 8 + 24  # once each

    def never(*_: object) -> None:
        raise AssertionError("trained anew")

    monkeypatch.setattr(loop, "_one_epoch", never)
    assert run(check, on).equals(first)
    assert on.explainers["bands"].asked == asked


def test_nothing_of_other_settings_is_taken_up(tmp_path: Path) -> None:
    on = make_bench(tmp_path, clips=8)
    run(Roar(RoarSettings(**QUICK, epochs=1)), on)
    asked = on.explainers["bands"].asked
    run(Roar(RoarSettings(**QUICK | {"shares": (0.3,)}, epochs=1)), on)
    assert on.explainers["bands"].asked == 2 * asked


def test_clips_to_test_on_choose_nothing(tmp_path: Path) -> None:
    check, accuracies, weights = Roar(RoarSettings(**QUICK, epochs=3)), [], []
    for name, swap in (("as they are", 0), ("swapped", 1)):
        on = make_bench(tmp_path / name, clips=16)
        on.material.labels.copy_((on.material.labels + swap) % 2)
        rows = list(check.run(on, Step("", "seed 0")))
        (folder,) = (tmp_path / name / "roar").glob("*/whole/0/0")
        accuracies.append([row.value for row in rows])
        weights.append(load_file(folder / "best.safetensors"))
        last = torch.load(folder / "resume.pt", weights_only=True)["step"]
        assert all(torch.equal(value, last[key]) for key, value in weights[-1].items())
    assert [one + other for one, other in zip(*accuracies)] == [1.0] * 24
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_the_best_bins_are_silent_and_no_others(tmp_path: Path) -> None:
    on, check = make_bench(tmp_path, clips=4), Roar(RoarSettings(**QUICK | {"shares": (0.2, 0.5)}))
    whole, none = (check._features(on, method, tmp_path / (method or "whole")) for method in ("", "bands"))
    mel = check._network(on, 0).mel
    bands = BINS.float()
    inside, outside = (mel @ (1 - bands) == 0, mel @ bands == 0)  # mel bands of such bins alone
    assert list(none) == ["0.2", "0.5"]
    for features in none.values():
        assert features.shape == whole["0"].shape == (4 + 24, 32, 32)
        assert (features <= whole["0"]).all()
    assert whole["0"][:, inside].all()
    assert none["0.2"][:, inside].any()
    assert not none["0.5"][:, inside].any()
    # Ties go by position: half of all bins are the bands' and the lowest others.
    high = outside & (mel[:, : BINS.nonzero()[0].item()] == 0).all(1)
    assert torch.equal(none["0.5"][:, high], whole["0"][:, high])


def rows_of(**accuracy: list[float]) -> DataFrame:
    """Lay out what is right of four clips, alike at two shares with two seeds each."""
    rows = [
        (method, f"seed {seed}", Row("accuracy", value, sound, level=level, seed=seed))
        for method, values in accuracy.items()
        for level in ("0.2", "0.4")
        for seed in (0, 1)
        for sound, value in zip("abcd", values)
    ]
    return frame_of([("", "seed 0", Row("accuracy", 0.9, level="0")), *rows])


def test_verdicts_are_beside_random_bins_on_the_same_clips() -> None:
    rows = rows_of(random=[0.9, 0.3, 0.7, 0.5], worse=[0.8, 0.2, 0.6, 0.4], same=[0.3, 0.9, 0.5, 0.7])
    found = {verdict.method: verdict for verdict in Roar().verdicts(rows)}
    assert {name: verdict.passed for name, verdict in found.items()} == {"worse": True, "same": False}
    assert "+10.0 points" in found["worse"].said
    assert "+10.0 … +10.0" in found["worse"].said


@pytest.mark.parametrize(
    "rows", [rows_of(lmac=[0.5] * 4), rows_of(random=[0.5] * 4, lmac=[NAN] * 4), rows_of(random=[0.5] * 4)]
)
def test_missing_methods_and_figures_are_passed_over(rows: DataFrame, tmp_path: Path) -> None:
    assert [one.passed for one in Roar().verdicts(rows)] == [None] * ("lmac" in set(rows["method"]))
    assert Roar().table(rows)["without 0%"].unique().tolist() == [90]
    assert isinstance(draw(rows, tmp_path), Figure)


def test_seeds_that_agree_can_be_drawn(tmp_path: Path) -> None:
    # The mean of five such figures is less than each, by rounding.
    same = [("random", "", Row("accuracy", 7 / 400, level="0.2", seed=seed)) for seed in range(5)]
    assert isinstance(draw(frame_of(same), tmp_path), Figure)
