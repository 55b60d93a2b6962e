"""GradCAM++: GradCAM that gives each place of a feature map a weight of its own."""

from __future__ import annotations

from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.cam import activation_map


@register("gradcam++")
class GradCamPlusPlus(Attribution):
    """The deepest feature maps, weighted so that several places of one class count alike.

    Source: Chattopadhay et al., Grad-CAM++, WACV 2018, eq. 19, for the exponential of the logit.
    """

    summary = "GradCAM that sees several places of one class"
    choosy = True

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        return activation_map(canvas, picture, target, place_weights)


def place_weights(maps: Tensor, gradient: Tensor) -> Tensor:
    """Return the weight of each map, (batch, channels, 1, 1), from both, (batch, channels, height, width).

    >>> import torch
    >>> maps = gradient = torch.ones(1, 1, 1, 2)
    >>> place_weights(maps, gradient).item()  # 2 places of 1 / (2 + 2·1)
    0.5
    """
    square = gradient.square()
    divisor = 2 * square + maps.sum(dim=(2, 3), keepdim=True) * square * gradient
    share = square / divisor.masked_fill(divisor == 0, 1)
    return (share * gradient.relu()).sum(dim=(2, 3), keepdim=True)
