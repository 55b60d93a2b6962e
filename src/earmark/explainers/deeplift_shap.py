"""DeepLiftShap: Shapley values, about, from differences to near-silence carried back layer by layer."""

from __future__ import annotations

import torch
from captum.attr import DeepLiftShap as CaptumDeepLiftShap
from torch import Tensor

from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register
from earmark.explainers.guided import check_relus

BASELINES = 3
NOISE = 0.1
"""Loudest noise of the baselines, as a share of the sound's loudest bin."""


@register("deeplift-shap")
class DeepLiftShap(Attribution):
    """DeepLift's differences to faint noise, averaged over baselines.

    It hooks ReLU modules; pooling by functions, and the logarithm of the features, go by their gradient.

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, by Captum.
    """

    summary = f"differences to {BASELINES} faint noises, carried back layer by layer"
    choosy = True
    at_once = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the network has ReLUs that are no modules.
        """
        check_relus(self.name, canvas, picture, target)
        inputs = picture.inputs
        found: Tensor = CaptumDeepLiftShap(canvas).attribute(
            inputs,
            baselines=NOISE * torch.rand((BASELINES, *inputs.shape[1:]), device=inputs.device),
            target=target,
            additional_forward_args=picture.extra,
        )
        return found
