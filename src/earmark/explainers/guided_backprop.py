"""Guided backpropagation: the gradient without what speaks against the class."""

from __future__ import annotations

from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.guided import check_relus, guided_gradient


@register("guided-backprop")
class GuidedBackprop(Attribution):
    """The gradient of the logit, with negative parts dropped at each ReLU on the way back.

    It hooks ReLU modules, and says so where there are none: in the paper's tables it is plain saliency.

    Source: Springenberg et al., Striving for Simplicity, 2015, by Captum.
    """

    summary = "the gradient, negative parts dropped at each ReLU"
    choosy = True

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the network has ReLUs that are no modules.
        """
        check_relus(self.name, canvas, picture, target)
        return guided_gradient(canvas, picture, target)
