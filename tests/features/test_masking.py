"""Masks on spectra."""

import pytest
import torch

from earmark.features.masking import apply_mask, largest_bins
from earmark.features.spectrogram import Spectrogram


@pytest.fixture
def stft() -> torch.Tensor:
    return Spectrogram()(torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("scale", ["magnitude", "log1p"])
def test_ones_keep_and_zeros_remove(stft: torch.Tensor, scale: str) -> None:
    ones = torch.ones(stft.shape)
    assert torch.allclose(apply_mask(stft, ones, scale), stft, atol=1e-5)
    assert apply_mask(stft, 0 * ones, scale).abs().max() == 0


def test_in_and_out_make_the_whole_on_magnitude_only(stft: torch.Tensor) -> None:
    mask = torch.rand(stft.shape, generator=torch.Generator().manual_seed(1))
    whole = apply_mask(stft, mask) + apply_mask(stft, 1 - mask)
    assert torch.allclose(whole, stft, atol=1e-5)
    whole = apply_mask(stft, mask, "log1p") + apply_mask(stft, 1 - mask, "log1p")
    assert not torch.allclose(whole, stft, atol=1e-2)


def test_log_scale_by_hand_and_phase_stays() -> None:
    stft = torch.tensor([[[3 - 4j, 0j]]])
    got = apply_mask(stft, torch.full((1, 1, 2), 0.3), "log1p")
    assert got[0, 0, 0].abs().item() == pytest.approx(6**0.3 - 1, rel=1e-5)
    assert torch.angle(got[0, 0, 0]) == pytest.approx(torch.angle(stft[0, 0, 0]))
    assert got[0, 0, 1] == 0


def test_gradients_are_finite_in_silence() -> None:
    for scale in ("magnitude", "log1p"):
        mask = torch.full((1, 2, 2), 0.5, requires_grad=True)
        apply_mask(torch.zeros(1, 2, 2, dtype=torch.complex64), mask, scale).abs().sum().backward()
        assert torch.isfinite(mask.grad).all()


@pytest.mark.parametrize("area", [0.01, 0.1, 0.5, 1.0])
def test_largest_bins_are_the_largest_and_as_many_as_asked(area: float) -> None:
    mask = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(2))
    hard = largest_bins(mask, area)
    for soft, kept in zip(mask, hard, strict=True):
        assert kept.sum() == round(area * 2000)
        assert area == 1 or soft[kept == 1].min() >= soft[kept == 0].max()


def test_ties_do_not_widen_the_area() -> None:
    assert largest_bins(torch.ones(1, 10, 10), 0.25).sum() == 25
