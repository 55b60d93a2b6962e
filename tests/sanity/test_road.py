"""Bins are filled in as a sparse solver does it; with the bins that decide, the decision goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from earmark.explainers.base import Explainer
from earmark.explainers.base import find as find_method
from earmark.report.checks.road import draw
from earmark.sanity.base import Row
from earmark.sanity.road import RANDOM, Road, RoadSettings, fill_in
from earmark.sanity.rows import frame_of
from explainers.networks import Cue
from sanity.benches import bench, run


class Sure(Cue):
    """Decides with some certainty, so that a lost cue shows."""

    def representations(self, features):
        logits, maps = super().representations(features)
        return 20 * logits, maps


class Rows(Explainer):
    """The truth of `Cue`: first the bins of the class, last those of the other."""

    def masks(self, stft, target, heard=None):
        rows = self.classifier.rows.detach()
        return (0.5 + 0.5 * (rows[target] - rows[1 - target]))[..., None].expand(stft.shape)


class Wrong(Rows):
    """The opposite."""

    def masks(self, stft, target, heard=None):
        return 1 - super().masks(stft, target, heard)


def sound(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    stft = 5 * torch.randn((2, height, width), generator=generator, dtype=torch.complex64)
    gone = (torch.rand((2, height, width), generator=generator) < 0.7).float()
    gone[:, 2:6, 1:5] = 1  # a hole, and one that reaches an edge
    gone[:, 5:, 7:] = 1
    return stft, gone


def solved(known: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """Solve for weighted means of neighbours, one equation a bin."""
    height, width = known.shape
    places = {place: number for number, place in enumerate(zip(*np.nonzero(gone)))}
    matrix, right = lil_matrix((len(places), len(places))), np.zeros(len(places))
    for (row, column), number in places.items():
        for down in (-1, 0, 1):
            for along in (-1, 0, 1):
                other = (row + down, column + along)
                if (down, along) == (0, 0) or not (0 <= other[0] < height and 0 <= other[1] < width):
                    continue
                weight = 1 / 12 if down and along else 1 / 6
                matrix[number, number] += weight
                if other in places:
                    matrix[number, places[other]] -= weight
                else:
                    right[number] += weight * known[other]
    filled = known.copy()
    filled[tuple(np.array(list(places)).T)] = spsolve(matrix.tocsr(), right)
    return filled


def test_filled_in_bins_solve_the_sparse_system_and_all_else_stays() -> None:
    stft, gone = sound(9, 10)
    filled = fill_in(stft, gone, sweeps=100, noise=0)
    for got, was, hole in zip(filled, stft, gone):
        wanted = np.expm1(solved(np.log1p(was.abs().double().numpy()), hole.numpy()))
        assert got.abs().numpy() == pytest.approx(wanted, rel=1e-4)
    assert torch.equal(filled[gone == 0], stft[gone == 0])
    assert filled.angle().numpy() == pytest.approx(stft.angle().numpy(), abs=1e-4)


def test_noise_is_added_where_bins_were_filled_in_alone() -> None:
    stft, gone = sound(60, 60)
    plain, noisy = (
        fill_in(stft, gone, 30, noise, torch.Generator().manual_seed(1)).abs().log1p() for noise in (0, 0.05)
    )
    added = noisy - plain
    assert not added[gone == 0].any()
    assert added[gone == 1].std().item() == pytest.approx(0.05, rel=0.05)


def test_the_decision_goes_with_the_right_bins_first_and_with_the_wrong_ones_last(tmp_path: Path) -> None:
    classifier = Sure()
    explainers = {
        "right": Rows(classifier),
        "wrong": Wrong(classifier),
        **{name: find_method(name)(classifier) for name in ("loudest", "all-ones")},
    }
    # Half of the bins are enough to fill in a band from what lies beside it.
    check = Road(RoadSettings(shares=(0.15, 0.3), condition="clean"))
    rows = run(check, bench(classifier, explainers, 6, tmp_path))
    assert set(rows["method"]) == {"right", "wrong", "loudest", RANDOM}  # all-ones puts no bin first
    found = {verdict.method: verdict.passed for verdict in check.verdicts(rows)}
    assert (found["right"], found["wrong"]) == (True, False)
    table = check.table(rows)
    most, least = table["p, most first"], table["p, least first"]
    assert most["right"] < most["random"] < most["wrong"]
    # The worst of one are the best of the other.
    assert least["right"] == pytest.approx(most["wrong"], abs=0.02)
    assert isinstance(draw(rows, tmp_path), Figure)


def test_missing_random_bins_or_figures_leave_the_verdict_open() -> None:
    def of(method: str, value: float):
        return [(method, "", Row("p", value, name, "most first", "0.2")) for name in "ab"]

    for rows in (of("lmac", 0.1), [*of("lmac", float("nan")), *of(RANDOM, 0.5)]):
        frame = frame_of(rows)
        assert [(one.method, one.passed) for one in Road().verdicts(frame)] == [("lmac", None)]
        assert "lmac" in Road().table(frame).index
    assert Road().verdicts(frame_of(of(RANDOM, 0.5))) == []


@pytest.mark.parametrize("shares", [(), (0.4, 0.2), (0.2, 0.2), (0.0, 0.5), (0.5, 1.0)])
def test_shares_that_do_not_rise_between_0_and_1_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shares of the bins rise"):
        RoadSettings(shares=shares)
