"""Concision: Quantus' own numbers, the definitions re-derived, and what any map must obey."""

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.metrics.concision import complexity, mask_mean, sparseness

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / "tools" / "make_quantus_goldens.py"
GOLDENS: dict[str, dict[str, float]] = json.loads((HERE / "quantus_goldens.json").read_text())["scores"]
MAPS: dict[str, np.ndarray] = runpy.run_path(str(TOOL))["maps"]()


def draw() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 6, 5, generator=generator, dtype=torch.float64) ** 3


@pytest.mark.parametrize("name", MAPS)
def test_equals_quantus(name: str) -> None:
    mask = torch.from_numpy(MAPS[name])[None]
    golden = GOLDENS[name]
    assert sparseness(mask).item() == pytest.approx(golden["SPS"], rel=1e-6, abs=1e-15)
    # Quantus divides an empty map by its sum; None is its NaN.
    entropy = 0.0 if golden["COMP"] is None else golden["COMP"]
    assert complexity(mask).item() == pytest.approx(entropy, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("name", MAPS)
def test_single_precision_is_enough(name: str) -> None:
    mask = torch.from_numpy(MAPS[name])[None]
    for metric in (sparseness, complexity):
        single = metric(mask.float())
        assert single.dtype == torch.float32
        assert single.item() == pytest.approx(metric(mask).item(), rel=2e-5, abs=1e-9)


def test_every_golden_has_its_map() -> None:
    assert list(GOLDENS) == list(MAPS)


def test_sparseness_is_the_mean_difference() -> None:
    # The Gini index another way: all pairs' mean difference over twice the mean.
    for mask in draw():
        bins = mask.flatten().tolist()
        differences = math.fsum(abs(a - b) for a in bins for b in bins) / len(bins) ** 2
        gini = differences / (2 * math.fsum(bins) / len(bins))
        assert sparseness(mask[None]).item() == pytest.approx(gini, abs=1e-6)


def test_complexity_is_the_entropy() -> None:
    for mask in draw():
        shares = (mask / mask.sum()).flatten().tolist()
        entropy = -math.fsum(share * math.log(share) for share in shares)
        assert complexity(mask[None]).item() == pytest.approx(entropy, abs=1e-9)


def test_hand_worked_binary_mask() -> None:
    # k of n bins: Gini 1 - k/n, entropy ln k, mean k/n; here k = 3, n = 12.
    mask = torch.zeros(1, 3, 4)
    mask[0, 1, :3] = 1
    assert sparseness(mask).item() == pytest.approx(0.75, abs=1e-6)
    assert complexity(mask).item() == pytest.approx(math.log(3), abs=1e-6)
    assert mask_mean(mask).item() == pytest.approx(0.25)


def test_each_clip_stands_alone() -> None:
    masks = draw() * torch.tensor([1.0, 1e-6, 0.0, 0.3])[:, None, None]
    for metric in (sparseness, complexity, mask_mean):
        alone = torch.cat([metric(mask[None]) for mask in masks])
        torch.testing.assert_close(metric(masks), alone)


def test_a_factor_and_an_order_change_nothing() -> None:
    mask = draw()
    shuffled = mask.flatten(1)[:, torch.randperm(30, generator=torch.Generator().manual_seed(1))]
    for metric in (sparseness, complexity):
        torch.testing.assert_close(metric(0.01 * mask), metric(mask))
        torch.testing.assert_close(metric(shuffled.view_as(mask)), metric(mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1e-7, 0.5, 1.0])
def test_constant_masks_are_finite_in_any_type(value: float, dtype: torch.dtype) -> None:
    mask = torch.full((2, 513, 40), value, dtype=dtype)
    assert sparseness(mask).abs().max() < 1e-6
    expected = math.log(513 * 40) if mask.any() else 0.0
    assert complexity(mask).tolist() == pytest.approx([expected] * 2, abs=1e-5)
    assert mask_mean(mask).tolist() == pytest.approx([value] * 2, rel=1e-2, abs=1e-7)


def test_the_mask_is_left_as_it_was() -> None:
    mask = draw()
    before = mask.clone()
    for metric in (sparseness, complexity, mask_mean):
        metric(mask)
    assert mask.equal(before)
