"""GradCAM: where the deepest feature maps that speak for the class are active."""

from __future__ import annotations

from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.cam import activation_map, mean_gradient


@register("gradcam")
class GradCam(Attribution):
    """The deepest feature maps, each weighted by its mean gradient; what speaks against the class is dropped.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017. The authors of L-MAC took the absolute value instead.
    """

    summary = "the deepest feature maps, weighted by their gradients"
    choosy = True

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        return activation_map(canvas, picture, target, mean_gradient)
