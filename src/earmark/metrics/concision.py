"""How little a mask keeps, and how much it concentrates: the values of Quantus 0.6, a batch at a time.

Quantus takes one map; given several it scales them by their common largest value, which makes a clip's
score depend on its neighbours. Here each clip stands alone, as if Quantus were called once per clip.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Quantus adds these to the map and inside the logarithm.
SPARSENESS_EPSILON = 1e-7
COMPLEXITY_EPSILON = 1e-12


def sparseness(mask: Tensor) -> Tensor:
    """Return the Gini index of a mask (SPS, higher is sparser).

    Args:
        mask: (batch, bins, frames) in [0, 1].

    Returns:
        (batch,), from 0 (all bins alike, so also for an empty mask) to 1 - 1/(bins·frames) (one bin kept).

    Source: Σ(2i - n - 1)·a_(i) / (n·Σa), a sorted ascending; Chalasani et al., Concise Explanations of
    Neural Networks using Adversarial Training, ICML 2020, as Quantus `Sparseness` has it.

    >>> mask = torch.tensor([[[0.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [1.0, 1.0]]])
    >>> sparseness(mask)  # 3·1 / (4·1) and (-3·0.5 - 1·0.5 + 1·1 + 3·1) / (4·3)
    tensor([0.7500, 0.1667])
    """
    flat = mask.flatten(1)
    size = flat.shape[1]
    if (ones := _ones(flat)) is not None:
        # Sorted, they are n - k zeros and k ones; the weights of the ones add up to k(n - k).
        gini = ones * (size - ones) / (size * _nonzero(ones + size * SPARSENESS_EPSILON))
        return gini.to(_result_type(mask))
    # Sorting is exact in any type; only the sums need the wider one.
    ascending = _wide(_ascending(flat))
    ascending = ascending / _nonzero(ascending[:, -1:]) + SPARSENESS_EPSILON
    weights = 2 * torch.arange(1, size + 1, device=mask.device) - size - 1
    gini = (weights * ascending).sum(1) / (size * ascending.sum(1))
    # A constant mask rounds to either side of 0.
    return gini.clamp_min(0).to(_result_type(mask))


def complexity(mask: Tensor) -> Tensor:
    """Return the entropy of a mask's distribution over its bins (COMP, lower is simpler).

    Args:
        mask: (batch, bins, frames) in [0, 1].

    Returns:
        (batch,) in nats, from 0 (one bin kept) to ln(bins·frames) (all bins alike); 0 for an empty mask,
        which has nothing to describe and for which Quantus gives NaN.

    Source: -Σ q·ln q, q = a/Σa; Bhatt et al., Evaluating and Aggregating Feature-based Model Explanations,
    IJCAI 2020, as Quantus `Complexity` has it.

    >>> mask = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.5], [0.5, 0.0]]])
    >>> complexity(mask)  # ln 4 and ln 2
    tensor([1.3863, 0.6931])
    """
    if (ones := _ones(mask.flatten(1))) is not None:
        entropy = -torch.log(1 / _nonzero(ones) + COMPLEXITY_EPSILON) * (ones > 0)
        return entropy.clamp_min(0).to(_result_type(mask))
    flat = _wide(mask.flatten(1))
    share = flat / _nonzero(flat.sum(1, keepdim=True))
    entropy = (share * -torch.log(share + COMPLEXITY_EPSILON)).sum(1)
    return entropy.to(_result_type(mask))


def mask_mean(mask: Tensor) -> Tensor:
    """Return the mean of a mask (MM): how much it keeps of an equally loud spectrum.

    Args:
        mask: (batch, bins, frames) in [0, 1].

    Returns:
        (batch,) in [0, 1].

    Source: MM in Tables 4 and 5 of Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.

    >>> mask_mean(torch.tensor([[[0.0, 1.0], [0.5, 0.5]]]))
    tensor([0.5000])
    """
    return _wide(mask.flatten(1)).mean(1).to(_result_type(mask))


def _ones(flat: Tensor) -> Tensor | None:
    """Return how many ones each binary mask of (batch, n) has, (batch,); None if any is not binary."""
    kept = flat == 1
    return _wide(kept.sum(1)) if bool((kept | (flat == 0)).all()) else None


def _ascending(flat: Tensor) -> Tensor:
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        # NumPy's sort is three times as fast as torch's.
        return torch.from_numpy(np.sort(flat.detach().numpy(), axis=1))
    return flat.sort(dim=1).values


def _wide(values: Tensor) -> Tensor:
    """Double precision, as sums over 200 000 bins need it; Apple's GPUs have none and keep single."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)


def _result_type(mask: Tensor) -> torch.dtype:
    return torch.promote_types(mask.dtype, torch.float32)


def _nonzero(divisor: Tensor) -> Tensor:
    return divisor.masked_fill(divisor == 0, 1)
