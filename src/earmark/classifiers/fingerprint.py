"""A short name for a network's weights and settings."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def fingerprint(network: nn.Module) -> str:
    """Return twelve hexadecimal digits that change with any weight, and not with where or how they lie.

    They also change with the network's ``settings``, where it has such a text: the weights alone do not say
    what a wrapped network is fed.

    >>> len(fingerprint(nn.Linear(2, 1)))
    12
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + raw.numpy().tobytes())
    settings = getattr(network, "settings", "")
    if isinstance(settings, str):
        digest.update(settings.encode())
    return digest.hexdigest()[:12]
