"""What L-MAC's decoder is trained for: equations 1 and 2 of the paper, and masks of a sampled area."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator
from torch import Tensor
from torch.nn import functional as F

OutLoss = Literal["cross_entropy", "bounded"]


class ObjectiveConfig(BaseModel):
    """Weights of the objective; all are means over clips, so none depends on the batch size.

    Args:
        mask_in: λ_in, of the cross-entropy of the masked-in sound.
        mask_out: λ_out, of the masked-out sound's loss.
        out_loss: "cross_entropy" subtracts the masked-out cross-entropy, as in eq. 2, which has no
            lower end; "bounded" adds -log(1 - p_out), which stops at 0 when the class is gone.
        sparsity: λ_s, of the mask's mean, in clips whose area is not given.
        absent: of the energy that is kept for a class that is not there, see `kept_energy`.
        area_share: the share of clips whose mask is fitted to an area drawn for it, see `area_mask`.
        area_range: between which shares of the bins that area is drawn, log-uniformly.
        heard: whether masked spectra go through their sound and back, ISTFT and STFT, as who listens hears
            them; a masked spectrum is none of any sound. For masks on the STFT.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask_in: NonNegativeFloat = 4.0
    mask_out: NonNegativeFloat = 0.2
    out_loss: OutLoss = "cross_entropy"
    sparsity: NonNegativeFloat = 6.4
    absent: NonNegativeFloat = 0.0
    area_share: float = Field(0.0, ge=0, le=1)
    area_range: tuple[float, float] = (0.03, 0.6)
    heard: bool = False

    @model_validator(mode="after")
    def _areas_are_shares(self) -> ObjectiveConfig:
        low, high = self.area_range
        if not 0 < low <= high < 1:
            raise ValueError("area_range must be two rising shares between 0 and 1")
        return self


def mask_in_loss(logits_in: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of the masked-in sound for each clip, (batch,), in nats (eq. 1, L_in).

    >>> mask_in_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([0.6931])
    """
    return F.cross_entropy(logits_in, target, reduction="none")


def mask_out_loss(logits_out: Tensor, target: Tensor, kind: OutLoss = "cross_entropy") -> Tensor:
    """Return what is to be minimised of the masked-out sound for each clip, (batch,), in nats.

    Args:
        logits_out: (batch, classes).
        target: (batch,).
        kind: see `ObjectiveConfig.out_loss`.

    >>> mask_out_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    tensor([-0.6931])
    >>> mask_out_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]), "bounded")
    tensor([0.6931])
    """
    if kind == "cross_entropy":
        return -F.cross_entropy(logits_out, target, reduction="none")
    # log(1 - p) as the difference of two logsumexps: exact where p is close to 1.
    others = logits_out.scatter(1, target[:, None], -torch.inf)
    return torch.logsumexp(logits_out, 1) - torch.logsumexp(others, 1)


def kept_energy(mask: Tensor, sound: Tensor) -> Tensor:
    """Return the share of a sound's energy that a mask keeps, plus the mask's mean, (batch,) in [0, 2].

    Args:
        mask: (batch, bins, frames) in [0, 1].
        sound: the same shape, complex or not, what the mask is laid on.

    >>> kept_energy(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 1.0]]]))  # 9 / 10 + 1 / 2
    tensor([1.4000])
    """
    power = sound.abs().square()
    whole = power.sum(dim=(1, 2)).clamp_min(torch.finfo(power.dtype).tiny)
    return (mask.square() * power).sum(dim=(1, 2)) / whole + mask.mean(dim=(1, 2))


def area_mask(logits: Tensor, area: Tensor, softness: float = 0.3) -> Tensor:
    """Return the binary mask of a given share of the bins, those with the highest logits, with a gradient.

    A mask trained under areas drawn at random learns to rank the bins, so that thresholds of it explain too.
    Forward, the mask is binary, as it is scored; backward, it has the slope of a logistic edge at the
    threshold, whose place moves with the logits so that the area stays.

    Args:
        logits: (batch, bins, frames).
        area: (batch,), shares in (0, 1).
        softness: width of that edge, in standard deviations of a clip's logits.

    Returns:
        (batch, bins, frames), 0 or 1.

    >>> mask = area_mask(torch.arange(1000.0).view(1, 10, 100), torch.tensor([0.2]))
    >>> round(mask.mean().item(), 2)
    0.2
    """
    # Only the order of the bins is learned: neither lifting nor stretching all logits changes anything.
    order = logits / logits.std(dim=(1, 2), keepdim=True).clamp_min(1e-6)
    # One bin in seven tells the quantile well enough, and sorting them all would cost more than the decoder.
    flat = order.detach().flatten(1)
    sample = flat[:, :: 7 if flat.shape[1] > 10_000 else 1].sort(dim=1).values
    index = ((1 - area) * (sample.shape[1] - 1)).round().long()
    threshold = sample.gather(1, index[:, None])[:, :, None]
    soft = torch.sigmoid((order - threshold) / softness)
    slope = (soft * (1 - soft)).detach()
    # Were the threshold fixed, lifting all bins near it would pass for a gain and only swell the area.
    drift = (slope * order).sum(dim=(1, 2), keepdim=True) / slope.sum(dim=(1, 2), keepdim=True).clamp_min(
        1e-6
    )
    edge = slope * (order - drift) / softness
    return (order >= threshold).float() + edge - edge.detach()
