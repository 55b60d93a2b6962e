"""Fine-tuning: draw the mask towards the clean sound of the class that was decided."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F

GuidanceKind = Literal["none", "paper", "recipe", "sdr"]


class GuidanceConfig(BaseModel):
    """How the mask is guided.

    Args:
        kind: "paper" is the distance ‖M⊙X − X_clean‖ of the paper, relative to ‖X_clean‖; "recipe" the
            binary cross-entropy against the loud bins of X_clean, as the authors' recipe has it;
            "sdr" the negative signal-to-distortion ratio of M⊙X to X_clean, in units of 10 dB.
        weight: λ_g.
        threshold: CCT; only clips whose mask from the stage before has at least this cosine similarity
            with the binarised clean target are guided; 0 guides all.
        loudness: bins of X_clean above this share of its maximum are the binarised target.
        ceiling_db: "sdr" asks for no more than this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: GuidanceKind = "none"
    weight: NonNegativeFloat = 4.0
    threshold: float = Field(0.0, ge=0, le=1)
    loudness: float = Field(0.35, gt=0, lt=1)
    ceiling_db: float = 20.0


def binarised(clean: Tensor, loudness: float = 0.35) -> Tensor:
    """Mark the loud bins of each complex (batch, bins, frames): those above a share of its maximum."""
    magnitude = clean.abs()
    return (magnitude >= loudness * magnitude.amax(dim=(1, 2), keepdim=True)).float()


def similarity(mask: Tensor, target: Tensor) -> Tensor:
    """Return the cosine similarity of two (batch, bins, frames) for each clip, (batch,) in [0, 1].

    >>> similarity(torch.ones(1, 2, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]))
    tensor([0.5000])
    """
    return F.cosine_similarity(mask.flatten(1), target.flatten(1), dim=1)


def guidance_loss(mask: Tensor, stft: Tensor, clean: Tensor, config: GuidanceConfig) -> Tensor:
    """Return how far each mask is from the clean sound, (batch,).

    Args:
        mask: (batch, bins, frames) in [0, 1].
        stft: complex (batch, bins, frames), the sound as heard; or its features, if the mask lives on them.
        clean: the same of the part of it that the class names.
        config: which distance.
    """
    if config.kind == "paper":
        distance = torch.linalg.vector_norm((mask * stft.abs() - clean.abs()).flatten(1), dim=1)
        return distance / torch.linalg.vector_norm(clean.abs().flatten(1), dim=1).clamp_min(1e-8)
    if config.kind == "recipe":
        target = binarised(clean, config.loudness)
        return F.binary_cross_entropy(mask, target, reduction="none").mean(dim=(1, 2))
    return -masked_sdr(mask, stft, clean, config.ceiling_db) / 10


def masked_sdr(mask: Tensor, stft: Tensor, clean: Tensor, ceiling_db: float = 20.0) -> Tensor:
    """Return the signal-to-distortion ratio of M⊙X to X_clean, (batch,), in dB.

    It nears its ceiling smoothly. It is not scale-invariant, on purpose: a mask that shrinks as a whole would
    keep its SI-SDR, please the sparsity term, and fade away.

    Args:
        mask: (batch, bins, frames) in [0, 1].
        stft: (batch, bins, frames), complex or not.
        clean: the same.
        ceiling_db: the ratio of a perfect mask.

    Source: Wisdom et al., Unsupervised sound separation using mixture invariant training, 2020, eq. 2.

    >>> clean = torch.tensor([[[1 + 1j, 2.0]]])
    >>> masks = torch.ones(1, 1, 2), torch.zeros(1, 1, 2)
    >>> [round(masked_sdr(mask, clean, clean).item(), 2) for mask in masks]
    [20.0, -0.04]
    """
    # |MX - S|^2 written out: what does not depend on the mask needs no gradient, and no complex one.
    power, cross = stft.abs().square(), (stft * clean.conj()).real
    energy = clean.abs().square().sum(dim=(1, 2))
    distortion = (mask * (mask * power - 2 * cross)).sum(dim=(1, 2)) + energy
    floor = 10 ** (-ceiling_db / 10) * energy
    return 10 * torch.log10(energy.clamp_min(1e-8) / (distortion.clamp_min(0) + floor).clamp_min(1e-8))
