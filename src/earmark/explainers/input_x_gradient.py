"""Input × gradient: what each bin adds to the class's logit, if the network were linear."""

from __future__ import annotations

from captum.attr import InputXGradient as CaptumInputXGradient
from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register


@register("input-x-gradient")
class InputXGradient(Attribution):
    """The gradient of the logit times the bin's own value.

    Source: Shrikumar et al., Not Just a Black Box, 2016, by Captum.
    """

    summary = "the gradient times the sound itself"

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        found: Tensor = CaptumInputXGradient(canvas).attribute(
            picture.inputs, target, additional_forward_args=picture.extra
        )
        return found
