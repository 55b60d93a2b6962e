"""Class activation maps: made on the classifier's deepest feature maps, spread over what is masked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.errors import ModelError
from earmark.explainers.attribution import Canvas, Picture

_NAME = "name one with wrap(…, layers=[…]), or pick another method"

Weights = Callable[[Tensor, Tensor], Tensor]
"""Maps and their gradient, (batch, channels, height, width) each, to weights that broadcast with them."""


def mean_gradient(maps: Tensor, gradient: Tensor) -> Tensor:
    """Return GradCAM's weights, (batch, channels, 1, 1)."""
    return gradient.mean(dim=(2, 3), keepdim=True)


def activation_map(canvas: Canvas, picture: Picture, target: Tensor, weights: Weights) -> Tensor:
    """Return where the deepest feature maps speak for the class, (batch, rows, frames), not negative.

    The maps come from the classifier's own list of representations, so there is nothing to hook and
    nothing that a hook could miss. Their vertical axis is that of the classifier's bands; where linear bins
    are masked, each looks up its own place among the bands.

    Args:
        canvas: the classifier.
        picture: the sounds.
        target: (batch,).
        weights: how the maps are weighted.
    """
    # The maps of a network with frozen weights have a gradient only if what it eats has one.
    features = canvas.features(picture.inputs.detach().requires_grad_(), *picture.extra)
    logits, deepest = deepest_maps(canvas, features)
    gradient = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), deepest)[0]
    maps = deepest.detach()
    cam = (weights(maps, gradient) * maps).sum(dim=1).relu()
    return spread(cam, canvas, picture.inputs.shape[1:])


def deepest_maps(canvas: Canvas, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and the deepest feature maps, (batch, channels, height, width), of features.

    Raises:
        ModelError: the classifier has no feature maps.
    """
    logits, representations = canvas.classifier.representations(features)
    if not representations:
        raise ModelError("class activation maps need a feature map, and the classifier has none", fix=_NAME)
    return logits, representations[-1]


def spread(cam: Tensor, canvas: Canvas, size: torch.Size) -> Tensor:
    """Interpolate (batch, height, width) to the size, (rows, frames), of what is masked."""
    if not canvas.classifier.has_bands:
        cam = cam.mean(dim=1, keepdim=True)
    height = cam.shape[1]
    if canvas.domain == "features" or height == 1:
        return _resize(cam, *size)
    warp = canvas.classifier.maps_to_bins()
    if warp is None:
        return _resize(cam, *size)
    return warp.to(cam.device) @ _resize(cam, warp.shape[1], size[1])


def _resize(cam: Tensor, rows: int, frames: int) -> Tensor:
    return F.interpolate(cam[:, None], (rows, frames), mode="bilinear", align_corners=False)[:, 0]
