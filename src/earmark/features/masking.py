"""Apply a mask to a spectrum: to its magnitude, or to its log1p magnitude as the L-MAC recipe does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
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


def mask_features(features: Tensor, mask: Tensor, silence: Tensor) -> Tensor:
    """Keep the part of a network's features that the mask lets through, and put silence in place of the rest.

    Args:
        features: (batch, rows, frames).
        mask: the same shape, in [0, 1].
        silence: (1, rows, 1), the features of silence: 0 for most, but -100 for decibels above a floor.

    >>> mask_features(torch.tensor([[[-20.0, -60.0]]]), torch.tensor([[[1.0, 0.0]]]), torch.tensor(-100.0))
    tensor([[[ -20., -100.]]])
    """
    return silence + mask * (features - silence)


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
    return next(binary_masks(mask, [area]))


def binary_masks(mask: Tensor, areas: Sequence[float]) -> Iterator[Tensor]:
    """Yield `largest_bins` of a mask for each of several areas, which takes one look at its order.

    >>> [int(binary.sum()) for binary in binary_masks(torch.rand(1, 10, 10), [0.1, 0.5])]
    [10, 50]
    """
    flat = mask.detach().flatten(1)
    keeps = [max(1, round(area * flat.shape[1])) for area in areas]
    # Many times faster than a sort, of which only these few places matter.
    places = [flat.shape[1] - keep for keep in keeps]
    found = np.partition(flat.float().cpu().numpy(), sorted(set(places)), axis=1)[:, places]
    for keep, threshold in zip(keeps, torch.from_numpy(found).to(flat).unbind(1)):
        chosen = flat > threshold[:, None]
        tied = flat == threshold[:, None]
        missing = keep - chosen.sum(1, keepdim=True)
        if (tied.sum(1, keepdim=True) > missing).any():
            tied &= tied.cumsum(1) <= missing
        yield (chosen | tied).to(mask.dtype).view_as(mask)
