"""Saliency: the gradient of the class's logit."""

from __future__ import annotations

from captum.attr import Saliency as CaptumSaliency
from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register


@register("saliency")
class Saliency(Attribution):
    """The absolute gradient of the logit with respect to each bin.

    Source: Simonyan et al., Deep Inside Convolutional Networks, 2014, by Captum.
    """

    summary = "the gradient of the class's logit"

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        found: Tensor = CaptumSaliency(canvas).attribute(
            picture.inputs, target, additional_forward_args=picture.extra
        )
        return found
