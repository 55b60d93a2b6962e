"""Apply a mask to a spectrum: to its magnitude, or to its log1p magnitude as the L-MAC recipe does."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

MaskScale = Literal["magnitude", "log1p"]


def apply_mask(stft: Tensor, mask: Tensor, scale: MaskScale = "magnitude") -> Tensor:
    """Keep the part of a spectrum that the mask lets through; the phase stays.

    Args:
        stft: complex (batch, bins, frames).
        mask: (batch, bins, frames) in [0, 1]; 1 keeps.
        scale: "magnitude" multiplies, so masked-in + masked-out = input. "log1p" multiplies
            log(1 + magnitude), which makes the magnitude (1 + |X|)^M - 1; in and out no longer add up.

    Returns:
        complex (batch, bins, frames).

    Source: eq. 3 of Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.

    >>> stft = torch.tensor([[[3.0 + 4.0j]]])
    >>> apply_mask(stft, torch.tensor([[[0.5]]])).item()
    (1.5+2j)
    >>> apply_mask(stft, torch.tensor([[[0.5]]]), "log1p").abs().item()  # sqrt(1 + 5) - 1
    1.449489...
    """
    if scale == "magnitude":
        return stft * mask
    magnitude = stft.abs()
    masked = torch.expm1(mask * torch.log1p(magnitude))
    return stft * (masked / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny))


def largest_bins(mask: Tensor, area: float) -> Tensor:
    """Turn a soft mask into a binary one that keeps the best bins up to an area.

    Args:
        mask: (batch, bins, frames), any range; only the order counts.
        area: the share of bins to keep, in (0, 1]. Ties are broken by position, so the area is exact.

    Returns:
        (batch, bins, frames) of 0 and 1 in the mask's type.

    >>> largest_bins(torch.tensor([[[0.1, 0.4], [0.3, 0.2]]]), 0.5)
    tensor([[[0., 1.],
             [1., 0.]]])
    """
    flat = mask.flatten(1)
    keep = max(1, round(area * flat.shape[1]))
    index = flat.argsort(dim=1, descending=True, stable=True)[:, :keep]
    return torch.zeros_like(flat).scatter_(1, index, 1).view_as(mask)
