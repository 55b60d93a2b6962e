"""Integrated gradients: the gradient along the way from silence to the sound."""

from __future__ import annotations

from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

STEPS = 50


@register("integrated-gradients")
class IntegratedGradients(Attribution):
    """The gradient of the logit, integrated from silence to the sound, times the sound.

    Source: Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017, by Captum.
    """

    summary = f"the gradient along {STEPS} steps from silence to the sound"
    at_once = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        found: Tensor = CaptumIntegratedGradients(canvas).attribute(
            picture.inputs,
            baselines=0,
            target=target,
            additional_forward_args=picture.extra,
            n_steps=STEPS,
            internal_batch_size=AT_ONCE,
        )
        return found
