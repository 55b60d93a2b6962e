"""NT-Xent: which of all views is the other one of the same sound."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.training.processes import gather_learning


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the normalised temperature-scaled cross-entropy over the views of all processes.

    Args:
        first: (sounds, channels), projections of one view of each of this process's sounds.
        second: (sounds, channels), of the other.
        temperature: cosines are divided by it.

    Returns:
        the mean over all views, and for what share of them the other view is the nearest.

    Source: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, eq. 1.

    >>> views = torch.eye(4)
    >>> loss, right = nt_xent(views, views, 0.1)
    >>> round(float(loss), 4), float(right)
    (0.0003, 1.0)
    """
    views = torch.cat([gather_learning(F.normalize(part.float(), dim=1)) for part in (first, second)])
    count = len(views) // 2
    cosines = views @ views.T / temperature
    cosines.fill_diagonal_(float("-inf"))
    other = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(cosines, other), (cosines.argmax(1) == other).float().mean()
