"""Optimised masks: the mask of each sound is found by gradient descent, without a network that draws it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register

STEPS = 50
"""Of Adam; in each, what is kept and the rest go through the classifier and back."""
RATE = 0.3
"""Of Adam, in units of the mask's logit."""
CELLS = 64
"""Places along each axis at most; a mask is smooth between them, so that it cannot pick single bins."""
AREA = 1.0
"""What a mask that keeps all costs, in units of what is at stake: how much better all is than nothing."""


@register("optimised-mask")
class OptimisedMask(Attribution):
    """The smallest smooth mask that keeps the class and leaves a rest without it, sought for each sound anew.

    It minimises what L-MAC's decoder is trained for, with the loss of the rest bounded. Its area has a price:
    what the whole sound is worth, so that it means the same for a sure decision and an unsure one.

    Source: Fong and Vedaldi, Interpretable Explanations of Black Boxes by Meaningful Perturbation, ICCV 2017;
    eq. 1 of Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024.
    """

    summary = f"a mask of each sound's own, sought in {STEPS} steps of gradient descent"
    costly = True
    # Many steps make much of little: what rounding differs by in a batch may end in another mask.
    at_once: ClassVar[int] = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`; what matters is what the mask keeps."""
        rows, frames = picture.inputs.shape[1:]
        places = len(target), min(rows, CELLS), min(frames, CELLS)
        logits = picture.inputs.new_zeros(places).requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=RATE)
        price = AREA * stake(canvas, picture, target)[:, None, None] / (rows * frames)
        for _ in range(STEPS):
            mask = smooth_mask(logits, (rows, frames))
            loss = unfaithfulness(canvas, picture, target, mask).sum()
            # By the mask first: where no gradient comes back from the classifier, this fails.
            slope = torch.autograd.grad(loss, mask)[0] + price
            logits.grad = torch.autograd.grad(mask, logits, slope)[0]
            optimiser.step()
        heard = picture.inputs.any(dim=2).any(dim=1)[:, None, None]
        return torch.where(heard, smooth_mask(logits.detach(), (rows, frames)), 0)


@torch.no_grad()
def stake(canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
    """Return how far `unfaithfulness` of keeping nothing and of keeping everything lie apart, (batch,)."""
    every = torch.ones_like(picture.inputs)
    of = [unfaithfulness(canvas, picture, target, mask) for mask in (torch.zeros_like(every), every)]
    return (of[0] - of[1]).abs()


def smooth_mask(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a mask in (0, 1) of a size, (batch, rows, frames), from its logits at fewer places.

    >>> smooth_mask(torch.tensor([[[0.0, 20.0]]]), (1, 4))
    tensor([[[0.5000, 0.6250, 0.8750, 1.0000]]])
    """
    return F.interpolate(logits.sigmoid()[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def unfaithfulness(canvas: Canvas, picture: Picture, target: Tensor, mask: Tensor) -> Tensor:
    """Return how far the kept part is from the class and the rest from its absence, (batch,), in nats.

    It is -log p of the kept part and -log(1 - p) of the rest, of all classes or of one yes or no.

    Args:
        canvas: the classifier.
        picture: the sounds.
        target: (batch,).
        mask: (batch, rows, frames).
    """
    both = torch.cat([mask, 1 - mask]) * picture.inputs.repeat(2, 1, 1)
    logits = canvas(both, *(torch.cat([value, value]) for value in picture.extra))
    decision, index = canvas.classifier.question(logits, target.repeat(2))
    kept, rest = decision.chunk(2)
    index = index[: len(target)]
    # log(1 - p) as the difference of two logsumexps: exact where p is close to 1.
    others = rest.scatter(1, index[:, None], -torch.inf)
    return F.cross_entropy(kept, index, reduction="none") + rest.logsumexp(1) - others.logsumexp(1)
