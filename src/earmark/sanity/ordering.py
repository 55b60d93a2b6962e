"""The random order in which bins are removed, that others are compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def random_order(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return random masks, another one for each sound, unlike those of the control `random`.

    >>> random_order(torch.Size((2, 3, 4)), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 4])
    """
    return torch.rand(shape, generator=generator)
