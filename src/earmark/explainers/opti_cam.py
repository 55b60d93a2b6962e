"""Opti-CAM: feature maps weighted so that what their sum keeps of the sound is decided for the class."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.cam import deepest_maps, spread

STEPS = 100
RATE = 0.1


@register("opti-cam")
class OptiCam(Attribution):
    """A weighted sum of the deepest feature maps, whose weights are sought for each sound anew.

    The mask is that sum between 0 and 1, the weights those with which the class is most probable for what the
    mask keeps. They are positive and sum to one.

    Source: Zhang et al., Opti-CAM: Optimizing Saliency Maps for Interpretability, CVIU 2024. The
    authors maximise the class's logit, which does not mind what is kept for other classes; here it is
    its log-probability.
    """

    summary = f"the deepest feature maps, weighted in {STEPS} steps of gradient descent"
    costly = True
    choosy = True
    # Many steps make much of little: what rounding differs by in a batch may end in another mask.
    at_once: ClassVar[int] = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`; what matters is what the mask keeps."""
        with torch.no_grad():
            maps = deepest_maps(canvas, canvas.features(picture.inputs, *picture.extra))[1]
        size = picture.inputs.shape[1:]
        weights = maps.new_zeros(maps.shape[:2]).requires_grad_()
        optimiser = torch.optim.Adam([weights], lr=RATE)
        for _ in range(STEPS):
            mask = spread(between_0_and_1(weighted(maps, weights)), canvas, size)
            logits = canvas(picture.inputs * mask, *picture.extra)
            decision, index = canvas.classifier.question(logits, target)
            loss = F.cross_entropy(decision, index, reduction="sum")
            weights.grad = torch.autograd.grad(loss, weights)[0]
            optimiser.step()
        heard = picture.inputs.any(dim=2).any(dim=1)[:, None, None]
        mask = spread(between_0_and_1(weighted(maps, weights.detach())), canvas, size)
        return torch.where(heard, mask, 0)


def weighted(maps: Tensor, weights: Tensor) -> Tensor:
    """Sum maps, (batch, channels, height, width), by the softmax of weights, (batch, channels)."""
    return torch.einsum("bc,bchw->bhw", weights.softmax(dim=1), maps)


def between_0_and_1(cam: Tensor) -> Tensor:
    """Shift and scale each (batch, height, width) to [0, 1]; one that is the same everywhere becomes 0.

    >>> between_0_and_1(torch.tensor([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 3.0]]]))
    tensor([[[0.0000, 0.2500, 1.0000]],
            [[0.0000, 0.0000, 0.0000]]])
    """
    lowest, highest = cam.amin(dim=(1, 2), keepdim=True), cam.amax(dim=(1, 2), keepdim=True)
    reach = highest - lowest
    return (cam - lowest) / reach.masked_fill(reach == 0, 1)
