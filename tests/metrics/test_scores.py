"""All scores at once: the contract that every one of them keeps, and what the trivial masks get."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from earmark.metrics import score
from earmark.metrics.faithfulness import RISE, Protocol, average_drop

CLIPS, CLASSES = 6, 50
RANGES = {
    "AI": (0, 100),
    "AD": (0, 100),
    "AG": (0, 100),
    "FF": (-1, 1),
    "Fid-In": (0, 1),
    "SPS": (0, 1),
    "COMP": (0, math.log(20 * 30) + 1e-5),
    "MM": (0, 1),
}


def draw() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits, logits_in, logits_out = 5 * torch.randn(3, CLIPS, CLASSES, generator=generator)
    return logits, logits_in, logits_out, torch.rand(CLIPS, 20, 30, generator=generator), logits.argmax(1)


@pytest.mark.parametrize("protocol", ["corrected", "paper"])
def test_every_score_is_one_number_per_clip_in_its_range(protocol: Protocol) -> None:
    scores = score(*draw(), protocol=protocol)
    assert list(scores) == list(RANGES)
    for name, (low, high) in RANGES.items():
        assert scores[name].shape == (CLIPS,)
        assert scores[name].dtype == torch.float32
        assert scores[name].min() >= low
        assert scores[name].max() <= high


def test_protocols_differ_in_average_drop_only() -> None:
    logits, logits_in, *_, target = draw()
    corrected, paper = score(*draw()), score(*draw(), protocol="paper")
    assert [name for name in RANGES if not corrected[name].equal(paper[name])] == ["AD"]
    assert paper["AD"].equal(average_drop(logits, logits_in, target, "paper"))


def test_a_rise_that_rounding_makes_counts_by_the_authors_program_alone() -> None:
    mask, target = torch.ones(1, 2, 2), torch.tensor([0])
    whole = torch.zeros(1, 2)
    kept = torch.tensor([[0.5 + RISE / 2, 0.5 - RISE / 2]]).log()
    corrected = score(whole, kept, whole, mask, target)
    paper = score(whole, kept, whole, mask, target, "paper")
    assert (corrected["AI"].item(), corrected["AG"].item()) == (0, 0)
    assert paper["AI"].item() == 100
    assert paper["AG"].item() == pytest.approx(100 * RISE, rel=1e-2)


def test_clips_do_not_touch_each_other() -> None:
    whole = score(*draw())
    for clip in range(CLIPS):
        logits, logits_in, logits_out, mask, target = (part[clip : clip + 1] for part in draw())
        alone = score(logits, logits_in, logits_out, mask, target)
        for name, value in alone.items():
            torch.testing.assert_close(value, whole[name][clip : clip + 1])


def test_all_ones_mask() -> None:
    logits, _, logits_out, mask, target = draw()
    scores = {
        name: value.mean().item()
        for name, value in score(logits, logits, logits_out, torch.ones_like(mask), target).items()
    }
    scores.pop("FF")
    assert scores == pytest.approx(
        {"AI": 0, "AD": 0, "AG": 0, "Fid-In": 1, "SPS": 0, "COMP": math.log(600), "MM": 1}, abs=1e-5
    )


def test_all_zeros_mask_is_finite_and_removes_nothing() -> None:
    logits, logits_in, _, mask, target = draw()
    scores = score(logits, logits_in, logits, torch.zeros_like(mask), target)
    for name in ("FF", "SPS", "COMP", "MM"):
        assert scores[name].count_nonzero() == 0


def test_import_does_not_pay_for_torchmetrics() -> None:
    check = "import sys, earmark.metrics; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
