"""Fills are what they are called; the best order of all has the best curves; rankings are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pandas import DataFrame

from earmark.explainers.base import Explainer
from earmark.explainers.base import find as find_method
from earmark.features.masking import binary_masks
from earmark.report.checks.curves import draw
from earmark.sanity.base import Row
from earmark.sanity.curves import Curves, CurvesSettings, curves
from earmark.sanity.fills import FILLS
from earmark.sanity.rows import frame_of
from explainers.networks import Cue
from sanity.benches import bench, run


class Sure(Cue):
    """Decides with some certainty, so that a lost cue shows."""

    def representations(self, features):
        logits, maps = super().representations(features)
        return 20 * logits, maps


class Best(Explainer):
    """By how much each bin adds to the class over the other: with silence as fill no order is better."""

    def masks(self, stft, target, heard=None):
        rows = self.classifier.rows.detach()
        gain = (rows[target] - rows[1 - target])[..., None] * stft.abs()
        return 0.5 + 0.5 * gain / gain.abs().amax(dim=(1, 2), keepdim=True)


class Chance(Explainer):
    """Other random bins than those of the control."""

    def masks(self, stft, target, heard=None):
        return torch.rand(stft.shape, generator=torch.Generator().manual_seed(9))


def make_bench(folder: Path):
    classifier = Sure()
    controls = {name: find_method(name)(classifier) for name in ("random", "loudest", "all-zeros")}
    explainers = {"best": Best(classifier), "chance": Chance(classifier), **controls}
    return bench(classifier, explainers, 6, folder)


def stft(frames: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    level = torch.logspace(-2, 2, 12)[None, :, None]
    return level * torch.randn((2, 12, frames), generator=generator, dtype=torch.complex64)


def test_noise_has_the_mean_power_spectrum_and_nothing_else_of_the_clip() -> None:
    given = stft()
    noise = FILLS["noise"](given, torch.Generator().manual_seed(1))
    power = [each.abs().square().mean(2).numpy() for each in (noise, given)]
    assert power[0] == pytest.approx(power[1], rel=0.25)  # 400 frames: 1 / 20, five times
    correlation = (noise * given.conj()).mean(2).abs() / given.abs().square().mean(2)
    assert correlation.max() < 0.2
    assert torch.equal(noise, FILLS["noise"](given, torch.Generator().manual_seed(1)))


def test_mean_and_blurred_keep_phases_and_smear_magnitudes() -> None:
    given, generator = stft(), torch.Generator()
    mean, blurred = (FILLS[name](given, generator) for name in ("mean", "blurred"))
    for each in (mean, blurred):
        assert (each / each.abs()).numpy() == pytest.approx((given / given.abs()).numpy(), abs=1e-3)
    wanted = given.abs().mean(2, keepdim=True).expand(given.shape).numpy()
    assert mean.abs().numpy() == pytest.approx(wanted, rel=1e-5)
    assert not FILLS["zeros"](given, generator).any()


def test_blurring_spreads_a_click_over_nine_bins_and_25_frames_and_leaves_what_is_flat() -> None:
    click = torch.zeros((1, 40, 60), dtype=torch.complex64)
    click[0, 20, 30] = 1
    smooth = FILLS["blurred"](click, torch.Generator()).abs()[0]
    bins, frames = (smooth.sum(dim).nonzero()[:, 0].tolist() for dim in (1, 0))
    assert (bins, frames) == (list(range(16, 25)), list(range(18, 43)))
    assert smooth.sum().item() == pytest.approx(1, abs=1e-5)
    flat = torch.full((1, 40, 60), 3 + 4j)
    assert FILLS["blurred"](flat, torch.Generator()).abs().numpy() == pytest.approx(5, rel=1e-5)


def test_curves_begin_and_end_with_the_whole_sound_and_the_fill(tmp_path: Path) -> None:
    on = make_bench(tmp_path)
    (scene,) = on.scenes("mixtures")
    fill = FILLS["noise"](scene.stft, torch.Generator().manual_seed(0))
    masks = on.explainers["best"].masks(scene.stft, scene.target)
    deleted, inserted = curves(on.classifier, scene, list(binary_masks(masks, [0.2, 0.6])), fill)

    def chance(spectrum: torch.Tensor) -> list[float]:
        logits = on.classifier.logits(on.classifier.features(spectrum))
        return logits.softmax(1)[torch.arange(len(logits)), scene.target].tolist()

    assert deleted.shape == inserted.shape == (6, 4)
    assert deleted[:, 0].tolist() == inserted[:, -1].tolist() == pytest.approx(chance(scene.stft))
    assert deleted[:, -1].tolist() == inserted[:, 0].tolist() == pytest.approx(chance(fill))
    some = masks >= masks.flatten(1).quantile(0.8, dim=1)[:, None, None]
    assert deleted[:, 1].tolist() == pytest.approx(chance(torch.where(some, fill, scene.stft)), abs=1e-3)
    assert inserted[:, 1].tolist() == pytest.approx(chance(torch.where(some, scene.stft, fill)), abs=1e-3)


def test_no_order_beats_the_best_one_in_any_sound_and_it_alone_passes(tmp_path: Path) -> None:
    check = Curves(CurvesSettings(fills=("zeros",)))
    rows = run(check, make_bench(tmp_path))
    assert set(rows["method"]) == {"best", "chance", "random", "loudest"}  # all-zeros has no order
    areas = rows[rows["level"] == ""].pivot(index=["figure", "sound"], columns="method", values="value")
    deletion, insertion = areas.loc["deletion"], areas.loc["insertion"]
    assert (deletion.idxmin(axis=1) == "best").all()
    assert (insertion.idxmax(axis=1) == "best").all()
    found = {verdict.method: verdict for verdict in check.verdicts(rows)}
    assert {name: one.passed for name, one in found.items()} == {"best": True, "chance": False}
    assert "better than random bins in 1, than the loudest bins in 1 of 1 fills" in found["best"].said


def test_areas_are_those_under_the_points(tmp_path: Path) -> None:
    check = Curves()
    rows = run(check, make_bench(tmp_path))
    own = rows[(rows["method"] == "best") & (rows["variant"] == "blurred")]
    points = own[own["figure"] == "p deletion"]
    under = np.trapezoid(points["value"], points["level"].astype(float))
    assert check.table(rows).loc["best", "deletion, blurred"] == pytest.approx(under)
    figure = draw(rows, tmp_path)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 2 * len(FILLS)


def planted(orders: dict[str, str], missing: float | None = None) -> DataFrame:
    """Lay out rows in which each fill ranks methods a, b, c by its word, the first best."""
    rows = [
        (method, "", Row(figure, sign * word.index(method) / 10, sound, fill))
        for fill, word in orders.items()
        for method in word
        for figure, sign in (("deletion", 1), ("insertion", -1))
        for sound in "xy"
    ]
    return frame_of(rows) if missing is None else frame_of(rows).assign(value=missing)


@pytest.mark.parametrize(
    ("orders", "tau", "holds"),
    [(("abcd", "abcd"), 1.0, True), (("abcd", "dcba"), -1.0, False), (("abcd", "bacd"), 2 / 3, False)],
)
def test_rankings_count_by_kendalls_tau(orders: tuple[str, ...], tau: float, holds: bool) -> None:
    *_, last = Curves().verdicts(planted(dict(zip(("zeros", "mean"), orders))))
    assert (last.method, last.passed) == ("", holds)
    assert f"τ {tau:.2f} in deletion and {tau:.2f} in insertion, {tau:.2f} for the two" in last.said


def test_one_fill_ranks_nothing_and_what_is_unknown_is_not_judged() -> None:
    assert [one.method for one in Curves().verdicts(planted({"zeros": "abcd"}))] == list("abcd")
    unknown = Curves().verdicts(planted({"zeros": "abcd", "mean": "abcd"}, missing=float("nan")))
    assert [one.passed for one in unknown] == [None] * 5


@pytest.mark.parametrize("controls", [(), ("random",), ("loudest",)])
def test_methods_are_compared_with_the_controls_there_are(controls: tuple[str, ...]) -> None:
    rows = planted({"zeros": "ab"})
    rows = rows.replace({"method": dict(zip("b", controls))})
    verdict = Curves().verdicts(rows)[0]
    assert verdict.passed is (True if controls else None)
    assert ("better than" in verdict.said) is bool(controls)
    assert "a" in Curves().table(rows).index


def test_wrong_areas_and_fills_are_refused() -> None:
    with pytest.raises(ValueError, match="shares of the bins rise"):
        CurvesSettings(areas=(0.5, 0.2))
    with pytest.raises(ValueError, match="zeros, mean, noise, blurred"):
        CurvesSettings(fills=("silence",))
