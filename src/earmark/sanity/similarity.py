"""How alike two masks are: in structure, and in the order of their bins.

Large masks are compared in patches, no more than 128 a side: neighbouring bins, whose windows overlap, say
the same, and the figures are of what one sees of a mask.
"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

_SIDE = 128


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the SSIM of pairs of masks, each divided by its highest value, as maps are looked at.

    Args:
        first: (batch, bins, frames) in [0, 1].
        second: the same shape.

    Returns:
        (batch,), at most 1, which two masks that are alike have.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004, by
    torchmetrics; for explanations Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.
    """
    # A second to import, which every command would pay.
    from torchmetrics.functional.image import structural_similarity_index_measure

    one, other = (_scaled(patches(mask))[:, None] for mask in (first, second))
    # One at a time: the windows of a batch take 50 times the memory of its masks.
    pairs = zip(one.split(1), other.split(1))
    found = [structural_similarity_index_measure(*pair, data_range=1.0, reduction=None) for pair in pairs]
    return torch.cat([torch.as_tensor(value).reshape(1) for value in found])


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's correlation of pairs of masks: whether they put the bins in the same order.

    Args:
        first: (batch, bins, frames).
        second: the same shape.

    Returns:
        (batch,), in [-1, 1]. A mask that is alike everywhere has no order: 1 with another such, else 0.

    >>> ramp = torch.arange(6.0).view(1, 2, 3)
    >>> rank_correlation(ramp, ramp.square()), rank_correlation(ramp, -ramp)
    (tensor([1.]), tensor([-1.]))
    """
    one, other = (_ranks(patches(mask)) for mask in (first, second))
    lengths = one.norm(dim=1) * other.norm(dim=1)
    both_flat = (one.norm(dim=1) == 0) & (other.norm(dim=1) == 0)
    cosine = (one * other).sum(1) / lengths.masked_fill(lengths == 0, 1)
    return torch.where(both_flat, 1.0, cosine).to(first)


def patches(mask: Tensor) -> Tensor:
    """Return the means of patches, as small as leave no side above 128; a small mask stays as it is.

    Args:
        mask: (batch, bins, frames).

    >>> tuple(patches(torch.rand(1, 513, 431)).shape)
    (1, 103, 108)
    """
    size = tuple(-(-side // _SIDE) for side in mask.shape[1:])
    return F.avg_pool2d(mask[:, None].float(), size, ceil_mode=True)[:, 0]


def _scaled(mask: Tensor) -> Tensor:
    highest = mask.amax(dim=(1, 2), keepdim=True)
    return mask / highest.masked_fill(highest <= 0, 1)


def _ranks(mask: Tensor) -> Tensor:
    """Return centred ranks, ties averaged, (batch, bins · frames)."""
    ranks = torch.from_numpy(rankdata(mask.detach().flatten(1).cpu().numpy(), axis=1))
    return ranks - ranks.mean(dim=1, keepdim=True)
