"""SmoothGrad: the mean gradient under noise."""

from __future__ import annotations

from captum.attr import NoiseTunnel
from captum.attr import Saliency as CaptumSaliency
from torch import Tensor

from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

SAMPLES = 50
NOISE = 0.15
"""Standard deviation, as a share of the picture's range."""


@register("smoothgrad")
class SmoothGrad(Attribution):
    """The mean of the gradient over copies of the sound with fresh noise in each.

    Source: Smilkov et al., SmoothGrad, 2017, by Captum. The authors of L-MAC drew the noise once.
    """

    summary = f"the mean gradient over {SAMPLES} noisy copies"
    at_once = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        found: Tensor = NoiseTunnel(CaptumSaliency(canvas)).attribute(
            picture.inputs,
            nt_type="smoothgrad",
            nt_samples=SAMPLES,
            nt_samples_batch_size=AT_ONCE,
            stdevs=NOISE,
            target=target,
            additional_forward_args=picture.extra,
            abs=False,
        )
        return found
