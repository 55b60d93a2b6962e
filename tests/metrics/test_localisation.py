"""Localisation: known sources, ideal masks, and the ratio in dB re-derived."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from earmark.metrics.localisation import (
    energy_share,
    ideal_ratio_mask,
    pointing,
    roc_auc,
    si_sdr,
    si_sdr_improvement,
)


def spectra() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(2, 3, 9, 7, generator=generator, dtype=torch.complex64)
    return parts[0], 0.7 * parts[1]


def waveforms(samples: int = 4000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    reference, noise = torch.randn(2, 3, samples, generator=generator)
    return reference + 0.3 * noise, reference


def naive_share(mask: Tensor, source: Tensor, interferer: Tensor, soft: bool) -> float:
    kept, owned = 0.0, 0.0
    for m, s, n in zip(mask.flatten().tolist(), source.flatten().tolist(), interferer.flatten().tolist()):
        energy = abs(m * (s + n)) ** 2
        kept += energy
        part = abs(s) ** 2 / (abs(s) ** 2 + abs(n) ** 2)
        owned += energy * (part if soft else part > 0.5)
    return owned / kept


@pytest.mark.parametrize("weights", ["binary", "ratio"])
def test_share_matches_the_definition(weights: Literal["binary", "ratio"]) -> None:
    source, interferer = spectra()
    mask = torch.rand(source.shape, generator=torch.Generator().manual_seed(2))
    expected = [naive_share(*clip, soft=weights == "ratio") for clip in zip(mask, source, interferer)]
    share = energy_share(mask, source, interferer, weights=weights)
    assert share.tolist() == pytest.approx(expected, rel=1e-5)


def test_ideal_binary_mask_has_all_and_its_complement_nothing() -> None:
    source, interferer = spectra()
    oracle = (source.abs() > interferer.abs()).float()
    torch.testing.assert_close(energy_share(oracle, source, interferer), torch.ones(3))
    assert energy_share(1 - oracle, source, interferer).tolist() == [0, 0, 0]


def test_ideal_masks_beat_keeping_everything() -> None:
    source, interferer = spectra()
    everything = energy_share(torch.ones(source.shape), source, interferer, weights="ratio")
    ideal = energy_share(ideal_ratio_mask(source, interferer), source, interferer, weights="ratio")
    assert (ideal > everything).all()


def test_hand_worked_phase_counts() -> None:
    # |3 - 1|² = 4 in the source's bin, |1 + 2|² = 9 in the interferer's: share 4 / 13.
    source, interferer = torch.tensor([[[3 + 0j, 1 + 0j]]]), torch.tensor([[[-1 + 0j, 2 + 0j]]])
    assert energy_share(torch.ones(1, 1, 2), source, interferer).item() == pytest.approx(4 / 13)


def test_ratio_masks_of_the_two_parts_add_up() -> None:
    source, interferer = spectra()
    total = ideal_ratio_mask(source, interferer) + ideal_ratio_mask(interferer, source)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_silence_is_finite() -> None:
    source, interferer = spectra()
    silence = torch.zeros_like(source)
    assert ideal_ratio_mask(silence, silence).count_nonzero() == 0
    for weights in ("binary", "ratio"):
        for parts in ((silence, silence), (silence, interferer)):
            assert energy_share(torch.ones(source.shape), *parts, weights=weights).tolist() == [0, 0, 0]
        assert energy_share(torch.zeros(source.shape), source, interferer, weights=weights).sum() == 0


def test_si_sdr_matches_the_definition() -> None:
    estimate, reference = waveforms()
    expected = []
    for e, r in zip(estimate.double().tolist(), reference.double().tolist(), strict=True):
        scale = math.fsum(a * b for a, b in zip(e, r)) / math.fsum(b * b for b in r)
        error = math.fsum((scale * b - a) ** 2 for a, b in zip(e, r))
        expected.append(10 * math.log10(math.fsum((scale * b) ** 2 for b in r) / error))
    assert si_sdr(estimate, reference).tolist() == pytest.approx(expected, abs=1e-3)


def test_si_sdr_of_known_noise() -> None:
    # A tenth of the amplitude, at right angles to the reference: 10·log10(1 / 0.1²) = 20 dB.
    time = torch.arange(1600) / 1600 * 2 * math.pi
    reference, noise = torch.sin(8 * time)[None], torch.cos(8 * time)[None]
    assert si_sdr(reference + 0.1 * noise, reference).item() == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, -1.0, 1e3])
def test_si_sdr_ignores_scale(scale: float) -> None:
    estimate, reference = waveforms()
    torch.testing.assert_close(
        si_sdr(scale * estimate, reference), si_sdr(estimate, reference), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        si_sdr(estimate, scale * reference), si_sdr(estimate, reference), atol=1e-3, rtol=0
    )


def test_si_sdr_ends_at_69_db() -> None:
    _, reference = waveforms()
    silence = torch.zeros_like(reference)
    assert si_sdr(reference, reference).tolist() == pytest.approx([69.24] * 3, abs=0.5)
    for pair in ((silence, reference), (reference, silence), (silence, silence)):
        assert si_sdr(*pair).tolist() == pytest.approx([-69.24] * 3, abs=0.01)


def test_improvement_over_the_mixture() -> None:
    mixture, reference = waveforms()
    cleaner = reference + (mixture - reference) / 10
    assert si_sdr_improvement(mixture, mixture, reference).tolist() == [0, 0, 0]
    # A tenth of the interferer: 20 dB, but for its small part along the reference.
    assert si_sdr_improvement(cleaner, mixture, reference).tolist() == pytest.approx([20] * 3, abs=0.3)


def marked() -> tuple[Tensor, Tensor, Tensor]:
    """Return masks with many ties, whose bins are the source's, and which bins count."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.randint(0, 5, (3, 6, 5), generator=generator) / 4
    owned, counted = (torch.rand(mask.shape, generator=generator) < share for share in (0.4, 0.7))
    return mask, owned, counted


def test_auc_is_how_often_a_bin_of_the_source_is_above_another() -> None:
    mask, owned, counted = marked()
    expected = []
    for score, yes, here in zip(mask, owned, counted):
        pairs = [(a, b) for a in score[yes & here].tolist() for b in score[~yes & here].tolist()]
        expected.append(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
    assert roc_auc(mask, owned.float(), counted).tolist() == pytest.approx(expected, rel=1e-6)


def test_auc_of_an_oracle_of_its_opposite_and_of_nothing() -> None:
    _, owned, counted = marked()
    assert roc_auc(owned.float(), owned, counted).tolist() == [1, 1, 1]
    assert roc_auc(1 - owned.float(), owned, counted).tolist() == [0, 0, 0]
    assert roc_auc(torch.ones(owned.shape), owned, counted).tolist() == [0.5, 0.5, 0.5]
    for one_sided in (torch.ones_like(owned), torch.zeros_like(owned)):
        assert roc_auc(owned.float(), one_sided, counted).isnan().all()


def test_auc_keeps_its_digits_for_whole_spectrograms() -> None:
    owned = torch.arange(513 * 431).view(1, 513, 431) % 3 == 0
    ramp = torch.arange(513 * 431, dtype=torch.float32).view(1, 513, 431)
    assert roc_auc(ramp, owned, torch.ones_like(owned)).item() == pytest.approx(0.5, abs=1e-4)


def test_pointing_asks_the_highest_bins_that_count() -> None:
    mask, owned, counted = marked()
    expected = []
    for score, yes, here in zip(mask, owned, counted):
        highest = (score == score[here].max()) & here
        expected.append((highest & yes).sum() / highest.sum())
    torch.testing.assert_close(pointing(mask, owned.float(), counted), torch.stack(expected))
    assert 0 < sum(expected) < 3
