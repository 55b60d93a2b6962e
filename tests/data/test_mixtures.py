"""Mixtures: what was asked for is what is measured."""

import math

import pytest
import torch
from torch import Tensor

from earmark.data.mixtures import gain_for_snr, mix, pairs_of_other_class
from earmark.errors import DataError


def sounds(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4000, generator=generator), scale * torch.rand(3, 4000, generator=generator)


def measured(signal: Tensor, interferer: Tensor) -> list[float]:
    """The ratio as the definition has it, in double precision."""
    power = [
        [math.fsum(x * x for x in row) for row in part.double().tolist()] for part in (signal, interferer)
    ]
    return [10 * math.log10(s / n) for s, n in zip(*power, strict=True)]


@pytest.mark.parametrize("snr", [-20.0, 0.0, 3.0, 40.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_measured_ratio_is_the_one_asked_for(snr: float, scale: float) -> None:
    signal, interferer = sounds(scale)
    mixture, scaled = mix(signal, interferer, snr)
    assert measured(signal, scaled) == pytest.approx([snr] * 3, abs=1e-4)
    torch.testing.assert_close(mixture - signal, scaled, atol=1e-4, rtol=1e-4)


def test_each_clip_may_have_its_own_ratio() -> None:
    signal, interferer = sounds()
    _, scaled = mix(signal, interferer, torch.tensor([-5.0, 0.0, 10.0]))
    assert measured(signal, scaled) == pytest.approx([-5, 0, 10], abs=1e-4)


@pytest.mark.parametrize("signal_silent", [True, False])
@pytest.mark.parametrize("interferer_silent", [True, False])
@pytest.mark.parametrize("snr", [-200.0, 0.0, 200.0])
def test_silence_adds_nothing(signal_silent: bool, interferer_silent: bool, snr: float) -> None:
    signal, interferer = sounds()
    signal, interferer = signal * (not signal_silent), interferer * (not interferer_silent)
    gain = gain_for_snr(signal, interferer, snr)
    mixture, scaled = mix(signal, interferer, snr)
    assert gain.shape == (3, 1)
    assert bool(gain.any()) == (not signal_silent and not interferer_silent)
    assert mixture.isfinite().all()
    assert scaled.isfinite().all()


@pytest.mark.parametrize("level", [1e-44, 1e-30, 1e-20, 1e18])
def test_levels_beyond_hearing_stay_numbers(level: float) -> None:
    signal = torch.tensor([[1.0, -1.0, 0.0]])
    interferer = torch.tensor([[0.0, level, -level]])
    for mixture in (*mix(signal, interferer, 60.0), *mix(interferer, signal, 60.0)):
        assert mixture.isfinite().all()


def test_pairs_are_distinct_and_of_another_class() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 2])
    pairs = pairs_of_other_class(labels, 3, seed=5)
    assert pairs.shape == (21, 2)
    assert pairs.dtype == torch.int64
    assert pairs[:, 0].tolist() == [index for index in range(7) for _ in range(3)]
    assert (labels[pairs[:, 0]] != labels[pairs[:, 1]]).all()
    assert all(len(set(group.tolist())) == 3 for group in pairs[:, 1].view(7, 3))


def test_every_other_clip_is_drawn_about_as_often() -> None:
    labels = torch.tensor([0] * 200 + [1] * 4)
    drawn = pairs_of_other_class(labels, 1, seed=0)[:200, 1]
    assert torch.bincount(drawn - 200, minlength=4).tolist() == pytest.approx([50] * 4, abs=20)


def test_seed_decides_and_clips_do_not_share_a_draw() -> None:
    labels = torch.arange(40) % 4
    first, again, other = (pairs_of_other_class(labels, 3, seed) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    relabelled = labels.clone()
    relabelled[[4, 7]] = labels[[7, 4]]  # changes what clips of classes 0 and 3 may draw, and no other clip's
    untouched = [index for index in range(40) if labels[index] in (1, 2)]
    changed = pairs_of_other_class(relabelled, 3, seed=0)
    assert changed.view(40, 3, 2)[untouched].equal(first.view(40, 3, 2)[untouched])


@pytest.mark.parametrize(
    ("labels", "per_clip", "message"),
    [
        ([3, 3], 1, "class 3 has other classes' clips to mix with: 0; expected at least 1"),
        ([0, 0, 1], 2, "class 0 has other classes' clips to mix with: 1; expected at least 2"),
    ],
)
def test_too_few_others_is_told(labels: list[int], per_clip: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pairs_of_other_class(torch.tensor(labels), per_clip, seed=0)
