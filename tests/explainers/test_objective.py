"""L-MAC's losses by hand, and the areas of fitted masks."""

import math

import pytest
import torch

from earmark.explainers.lmac.guidance import GuidanceConfig, binarised, guidance_loss, masked_sdr
from earmark.explainers.lmac.objective import area_mask, mask_in_loss, mask_out_loss

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
TARGET = torch.tensor([0, 2])


def probabilities(row: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


def test_losses_by_hand() -> None:
    p = [probabilities(row)[c] for row, c in zip(LOGITS.tolist(), TARGET.tolist())]
    assert mask_in_loss(LOGITS, TARGET).tolist() == pytest.approx([-math.log(v) for v in p], rel=1e-5)
    assert mask_out_loss(LOGITS, TARGET).tolist() == pytest.approx([math.log(v) for v in p], rel=1e-5)
    bounded = mask_out_loss(LOGITS, TARGET, "bounded").tolist()
    assert bounded == pytest.approx([-math.log(1 - v) for v in p], rel=1e-5)


def test_bounded_loss_is_finite_where_the_class_is_certain() -> None:
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    loss = mask_out_loss(logits, torch.tensor([0]), "bounded").sum()
    loss.backward()
    assert loss.item() == pytest.approx(60)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("shape", [(2, 30, 40), (2, 513, 431)])
def test_fitted_masks_have_their_area(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 20
    area = torch.tensor([0.05, 0.4])
    assert area_mask(logits, area).mean(dim=(1, 2)).tolist() == pytest.approx(area.tolist(), abs=0.02)


def test_fitted_masks_teach_the_order_and_not_the_level() -> None:
    logits = torch.randn(2, 30, 40, requires_grad=True)
    (area_mask(logits, torch.tensor([0.1, 0.3])) * torch.rand(2, 30, 40)).sum().backward()
    assert logits.grad.abs().max() > 0.1
    assert logits.grad.sum(dim=(1, 2)).abs().max() < 1e-3


def test_fitted_masks_gain_nothing_by_swelling() -> None:
    # The reward of every bin is the same: no order is better than another, and the area is given.
    logits = torch.randn(1, 30, 40, requires_grad=True)
    area_mask(logits, torch.tensor([0.2])).sum().backward()
    assert logits.grad.abs().max() < 1e-3


def test_fitted_masks_lift_what_is_worth_more() -> None:
    worth = torch.rand(1, 30, 40, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(1, 30, 40) + 0.01 * torch.randn(
        1, 30, 40, generator=torch.Generator().manual_seed(1)
    )
    for _ in range(200):
        logits = logits.detach().requires_grad_()
        (area_mask(logits, torch.tensor([0.25])) * worth).sum().backward()
        logits = logits + logits.grad / logits.grad.abs().max() * 0.01
    kept = area_mask(logits, torch.tensor([0.25])) == 1
    assert worth[kept].mean() > worth[~kept].mean() + 0.3


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.complex64))


@pytest.mark.parametrize("kind", ["paper", "sdr"])
def test_guidance_prefers_the_ideal_ratio_mask(kind: str, parts: tuple[torch.Tensor, torch.Tensor]) -> None:
    clean, other = parts
    stft = clean + other
    ideal = clean.abs() ** 2 / (clean.abs() ** 2 + other.abs() ** 2)
    config = GuidanceConfig(kind=kind)
    good = guidance_loss(ideal, stft, clean, config)
    for mask in (torch.ones_like(ideal), 1 - ideal, torch.full_like(ideal, 0.01)):
        assert (good < guidance_loss(mask, stft, clean, config)).all()


def test_recipe_guidance_wants_the_loud_bins(parts: tuple[torch.Tensor, torch.Tensor]) -> None:
    clean, other = parts
    config = GuidanceConfig(kind="recipe")
    loud = binarised(clean)
    assert torch.equal(loud[0], (clean[0].abs() >= 0.35 * clean[0].abs().max()).float())
    assert guidance_loss(loud, clean + other, clean, config).max() < 1e-5
    assert guidance_loss(1 - loud, clean + other, clean, config).min() > 10


def test_sdr_by_hand(parts: tuple[torch.Tensor, torch.Tensor]) -> None:
    clean, other = parts
    mask = torch.rand(3, 5, 8, generator=torch.Generator().manual_seed(3))
    got = masked_sdr(mask, clean + other, clean, ceiling_db=300)
    for index in range(3):
        estimate = mask[index] * (clean[index] + other[index])
        signal = sum(abs(v) ** 2 for v in clean[index].flatten().tolist())
        distortion = sum(abs(v) ** 2 for v in (estimate - clean[index]).flatten().tolist())
        assert got[index].item() == pytest.approx(10 * math.log10(signal / distortion), abs=1e-3)


def test_sdr_stays_below_its_ceiling_and_falls_with_the_level(
    parts: tuple[torch.Tensor, torch.Tensor],
) -> None:
    clean, _ = parts
    ones = torch.ones(clean.shape)
    assert masked_sdr(ones, clean, clean, 20).tolist() == pytest.approx([20] * 3, abs=1e-3)
    assert (masked_sdr(0.1 * ones, clean, clean) < 1).all()
