"""Guided GradCAM: the guided gradient where GradCAM looks."""

from __future__ import annotations

from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.cam import activation_map, mean_gradient
from earmark.explainers.guided import check_relus, guided_gradient


@register("guided-gradcam")
class GuidedGradCam(Attribution):
    """The product of guided backpropagation and GradCAM.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.
    """

    summary = "the guided gradient times GradCAM"
    choosy = True

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the network has ReLUs that are no modules.
        """
        check_relus(self.name, canvas, picture, target)
        cam = activation_map(canvas, picture, target, mean_gradient)
        return guided_gradient(canvas, picture, target) * cam
