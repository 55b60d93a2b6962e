"""Occlusion: how much the class's logit falls when a patch is silenced."""

from __future__ import annotations

import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

PATCHES = 8
"""Along each axis."""


@register("occlusion")
class Occlusion(Attribution):
    """The fall of the logit when each of 8 × 8 patches is silenced in turn.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, by Captum.
    """

    summary = f"silences each of {PATCHES} x {PATCHES} patches in turn"
    needs_gradients = False
    at_once = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        patch = tuple(-(-size // PATCHES) for size in picture.inputs.shape[1:])
        with torch.no_grad():
            found: Tensor = CaptumOcclusion(canvas).attribute(
                picture.inputs,
                sliding_window_shapes=patch,
                strides=patch,
                baselines=0,
                target=target,
                additional_forward_args=picture.extra,
                perturbations_per_eval=AT_ONCE,
            )
        return found
