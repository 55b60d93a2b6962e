"""The order in which bins are removed, and the random order that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from earmark.features.masking import binary_masks


def removed(mask: Tensor, shares: Sequence[float]) -> Tensor:
    """Return at which share each bin goes, if the best go first.

    Args:
        mask: (batch, bins, frames).
        shares: rising, between 0 and 1.

    Returns:
        uint8 (batch, bins, frames): 0 for what goes at the first share, and so on; ``len(shares)`` for what
        stays.

    >>> removed(torch.tensor([[[0.9, 0.1], [0.5, 0.7]]]), [0.25, 0.75])
    tensor([[[0, 2],
             [1, 1]]], dtype=torch.uint8)
    """
    gone = torch.stack([binary.bool() for binary in binary_masks(mask, shares)])
    return len(shares) - gone.sum(0, dtype=torch.uint8)


def random_order(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return random masks, another one for each sound, unlike those of the control `random`."""
    return torch.rand(shape, generator=generator)
