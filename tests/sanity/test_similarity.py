"""Rank correlation and SSIM of masks, derived naively; sparse masks; masks without any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor

from earmark.sanity.similarity import patches, rank_correlation, structural_similarity


def masks(seed: int, clips: int = 3) -> Tensor:
    return torch.rand((clips, 24, 30), generator=torch.Generator().manual_seed(seed))


def naive_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean over windows of 11 × 11 around all bins, the masks mirrored at their edges."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=1.5, truncate=3.5, mode="mirror")

    one, other = one / one.max(), other / other.max()
    a, b = mean(one), mean(other)
    aa, bb, ab = mean(one * one) - a * a, mean(other * other) - b * b, mean(one * other) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * a * b + c1) * (2 * ab + c2) / ((a * a + b * b + c1) * (aa + bb + c2))).mean())


def test_ssim_is_that_of_maps_stretched_to_their_highest_value() -> None:
    one, other = masks(0), (masks(0) + masks(1)) / 7
    wanted = [naive_ssim(*pair) for pair in zip(one.double().numpy(), other.double().numpy())]
    assert structural_similarity(one, other).tolist() == pytest.approx(wanted, abs=1e-5)
    assert structural_similarity(one, one / 9).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_rank_correlation_averages_ties_clip_by_clip() -> None:
    one, other = (masks(0) * 4).round(), (masks(0) + masks(1)).mul(4).round()
    wanted = [spearmanr(*(mask.flatten().numpy() for mask in pair)).statistic for pair in zip(one, other)]
    assert rank_correlation(one, other).tolist() == pytest.approx(wanted, abs=1e-6)


def test_unlike_sparse_masks_are_alike_in_structure_but_not_in_order() -> None:
    one, other = torch.zeros(2, 1, 64, 64)
    one[0, 5, 5], other[0, 50, 50] = 1, 1
    assert structural_similarity(one, other).item() > 0.9
    assert abs(rank_correlation(one, other).item()) < 0.01


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_mask_without_order_is_like_such_masks_alone(level: float) -> None:
    flat = torch.full((3, 24, 30), level)
    assert rank_correlation(flat, 1 - flat).tolist() == [1, 1, 1]
    assert rank_correlation(flat, masks(0)).tolist() == [0, 0, 0]
    assert structural_similarity(flat, flat).tolist() == pytest.approx([1, 1, 1])
    assert structural_similarity(flat, masks(0)).isfinite().all()


def test_large_masks_are_compared_in_means_of_patches_and_small_ones_bin_by_bin() -> None:
    mask = torch.rand((2, 300, 130), generator=torch.Generator().manual_seed(0))
    wanted = [
        [mask[:, y : y + 3, x : x + 2].mean((1, 2)) for x in range(0, 130, 2)] for y in range(0, 300, 3)
    ]
    assert torch.allclose(patches(mask), torch.stack([torch.stack(row, -1) for row in wanted], 1))
    edge = torch.ones(1, 129, 10)
    assert torch.equal(patches(edge), torch.ones(1, 65, 10))  # the last patch has one row alone
    assert torch.equal(patches(mask[:, :128, :128]), mask[:, :128, :128])
