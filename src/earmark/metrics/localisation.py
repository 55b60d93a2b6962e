"""Is what the mask keeps the source, where a mixture's sources are known?

This is plausibility, not faithfulness: a classifier may well decide by the interferer, and a faithful
mask then shows that.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def ideal_ratio_mask(source: Tensor, interferer: Tensor) -> Tensor:
    """Return the source's share of the power in each bin.

    Args:
        source: complex (batch, bins, frames).
        interferer: complex (batch, bins, frames).

    Returns:
        (batch, bins, frames) in [0, 1]; 0 where both are silent.

    Source: the ideal ratio mask with exponent 1; Wang, Narayanan and Wang, On Training Targets for
    Supervised Speech Separation, TASLP 2014.

    >>> ideal_ratio_mask(torch.tensor([[[3j, 0j]]]), torch.tensor([[[1 + 0j, 0j]]]))  # 9 / (9 + 1)
    tensor([[[0.9000, 0.0000]]])
    """
    return _ratio(_power(source), _power(source) + _power(interferer))


def energy_share(
    mask: Tensor,
    source: Tensor,
    interferer: Tensor,
    weights: Literal["binary", "ratio"] = "binary",
) -> Tensor:
    """Return how much of the energy that a mask keeps of a mixture belongs to the source.

    Args:
        mask: (batch, bins, frames) in [0, 1], of the mixture source + interferer.
        source: complex (batch, bins, frames).
        interferer: complex (batch, bins, frames).
        weights: what counts as the source's: "binary", all of a bin in which the source is the louder;
            "ratio", of every bin the source's part by `ideal_ratio_mask`.

    Returns:
        (batch,) in [0, 1]; 0 for a mask that keeps no energy.

    >>> source, interferer = torch.tensor([[[3 + 0j, 1 + 0j]]]), torch.tensor([[[1 + 0j, 1 + 0j]]])
    >>> mask = torch.tensor([[[0.5, 1.0]]])  # keeps (0.5·4)² = 4 of the source's bin, (1·2)² = 4 of the other
    >>> energy_share(mask, source, interferer)
    tensor([0.5000])
    >>> energy_share(mask, source, interferer, weights="ratio")  # (0.9·4 + 0.5·4) / 8
    tensor([0.7000])
    """
    power = _power(source + interferer)
    if weights == "ratio":
        owned = ideal_ratio_mask(source, interferer)
    else:
        owned = (source.abs() > interferer.abs()).to(power.dtype)
    return kept_share(mask, power, owned)


def kept_share(mask: Tensor, power: Tensor, owned: Tensor) -> Tensor:
    """Return `energy_share` for many masks of one mixture, whose spectra are then looked at once.

    Args:
        mask: (batch, bins, frames) in [0, 1].
        power: (batch, bins, frames), the mixture's.
        owned: (batch, bins, frames), how much of each bin counts as the source's, 0 … 1.

    Returns:
        (batch,) in [0, 1]; 0 for a mask that keeps no energy.

    >>> kept_share(torch.ones(1, 1, 2), torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]]))
    tensor([0.7500])
    """
    kept = mask.square() * power
    return _ratio(torch.linalg.vecdot(owned.flatten(1), kept.flatten(1)), kept.sum((1, 2)))


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Return the scale-invariant signal-to-distortion ratio of an estimate.

    Args:
        estimate: (batch, samples).
        reference: (batch, samples), what the estimate should be up to a factor.

    Returns:
        (batch,) in dB. Single precision ends it at 69 dB for a perfect estimate and at -69 dB for a useless
        one, which is also what silence gets on either side.

    Source: Le Roux et al., SDR: Half-baked or Well Done?, ICASSP 2019, by torchmetrics.

    >>> reference = torch.tensor([[1.0, 0.0]])
    >>> si_sdr(torch.tensor([[3.0, 1.0]]), reference)  # 10·log10(3² / 1²)
    tensor([9.5424])
    """
    # Two seconds to import, which every `import earmark.metrics` would pay.
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    # At unit energy the epsilons in torchmetrics weigh the same for quiet sounds as for loud ones.
    ratio: Tensor = scale_invariant_signal_distortion_ratio(
        F.normalize(estimate, dim=-1), F.normalize(reference, dim=-1)
    )
    # torchmetrics gives silence 0 dB, better than many an honest estimate.
    floor = 10 * torch.log10(ratio.new_tensor(torch.finfo(ratio.dtype).eps))
    return torch.where(estimate.any(-1), ratio, floor)


def si_sdr_improvement(estimate: Tensor, mixture: Tensor, reference: Tensor) -> Tensor:
    """Return by how much an estimate is closer to the reference than the untouched mixture is.

    Args:
        estimate: (batch, samples).
        mixture: (batch, samples).
        reference: (batch, samples).

    Returns:
        (batch,) in dB; 0 for the mixture itself.

    >>> reference, mixture = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    >>> si_sdr_improvement(torch.tensor([[3.0, 1.0]]), mixture, reference)  # 10·log10(9) after 0 dB
    tensor([9.5424])
    """
    return si_sdr(estimate, reference) - si_sdr(mixture, reference)


def roc_auc(score: Tensor, owned: Tensor, counted: Tensor) -> Tensor:
    """Return how well a mask's values tell the source's bins from the others (area under the ROC curve).

    Args:
        score: (batch, bins, frames), the mask.
        owned: (batch, bins, frames), whether the source is the louder in each bin.
        counted: (batch, bins, frames), which bins count at all.

    Returns:
        (batch,), in [0, 1]; 0.5 for a mask that is alike everywhere, NaN where all bins are on one side.

    Source: the Mann–Whitney statistic, ties averaged.

    >>> yes = torch.tensor([[[True, True, False, False]]])
    >>> roc_auc(torch.tensor([[[0.9, 0.4, 0.4, 0.1]]]), yes, torch.ones_like(yes))
    tensor([0.8750])
    """
    return torch.stack([_auc(*one) for one in zip(score, owned.bool(), counted.bool())])


def _auc(score: Tensor, owned: Tensor, counted: Tensor) -> Tensor:
    from scipy.stats import rankdata

    values, yes = score[counted].cpu(), owned[counted].cpu()
    of_yes, of_no = int(yes.sum()), int((~yes).sum())
    ranks = torch.from_numpy(rankdata(values.numpy()))[yes].sum()
    # Without a bin on either side this is 0 / 0, which is NaN, as it should be.
    area = (ranks - of_yes * (of_yes + 1) / 2) / torch.tensor(float(of_yes * of_no))
    return area.to(score)


def pointing(mask: Tensor, owned: Tensor, counted: Tensor) -> Tensor:
    """Tell whether the bin that a mask keeps most of is the source's; of bins that tie, the share that is.

    Args:
        mask: (batch, bins, frames).
        owned: (batch, bins, frames), whether the source is the louder in each bin.
        counted: (batch, bins, frames), which bins count at all.

    Returns:
        (batch,), in [0, 1].

    Source: the pointing game of Zhang et al., Top-down Neural Attention by Excitation Backprop, 2018.

    >>> yes = torch.tensor([[[True, False, False]]])
    >>> pointing(torch.tensor([[[0.9, 0.9, 0.1]]]), yes, torch.ones_like(yes))
    tensor([0.5000])
    """
    shown = mask.masked_fill(~counted.bool(), -torch.inf)
    highest = (shown == shown.amax(dim=(1, 2), keepdim=True)).to(mask.dtype)
    return (highest * owned).sum(dim=(1, 2)) / highest.sum(dim=(1, 2))


def _power(stft: Tensor) -> Tensor:
    return stft.abs().square()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.masked_fill(whole == 0, 1)
