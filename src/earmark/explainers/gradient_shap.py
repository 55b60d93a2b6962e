"""GradientShap: Shapley values, about, from gradients between near-silence and the sound."""

from __future__ import annotations

import torch
from captum.attr import GradientShap as CaptumGradientShap
from torch import Tensor

from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

SAMPLES = AT_ONCE
BASELINES = 3
NOISE = 0.1
"""Loudest noise of the baselines, as a share of the sound's loudest bin."""


@register("gradient-shap")
class GradientShap(Attribution):
    """Expected gradients times the sound, at random points between faint noise and the sound.

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, by Captum; three
    noise baselines, as the authors of L-MAC have it.
    """

    summary = f"expected gradients from faint noise to the sound, {SAMPLES} points"
    at_once = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        inputs = picture.inputs
        found: Tensor = CaptumGradientShap(canvas).attribute(
            inputs,
            baselines=NOISE * torch.rand((BASELINES, *inputs.shape[1:]), device=inputs.device),
            n_samples=SAMPLES,
            target=target,
            additional_forward_args=picture.extra,
        )
        return found
