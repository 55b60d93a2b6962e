"""The fixed warp from a classifier's bands to the linear bins that masks live on."""

from __future__ import annotations

import torch
from torch import Tensor


def bands_to_bins(position: Tensor, bands: int) -> Tensor:
    """Return the fixed warp from a classifier's bands to linear bins, (bins, bands); rows sum to one.

    Args:
        position: (bins,), where each bin lies among the bands; a bin between two bands takes a blend of
            both, one beyond them all takes the last.
        bands: how many there are.

    >>> bands_to_bins(torch.tensor([-1.0, 0.25, 1.0]), 2)
    tensor([[1.0000, 0.0000],
            [0.7500, 0.2500],
            [0.0000, 1.0000]])
    """
    distance = (position.clamp(0, bands - 1)[:, None] - torch.arange(bands)[None]).abs()
    return (1 - distance).clamp_min(0).float()
