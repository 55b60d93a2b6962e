"""Attention rollout: what a transformer's answer looked at, through all its layers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from earmark.explainers.attention import heard_with_attention
from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register


@register("attention-rollout")
class AttentionRollout(Attribution):
    """The attention of all layers, multiplied; it is the same for every class.

    Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, for the mean of
    the heads.
    """

    summary = "what a transformer looks at, for any class"
    needs_gradients = False
    choosy = True
    at_once: ClassVar[int] = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the classifier is no transformer, or its tokens have no place on the picture.
        """
        with torch.no_grad():
            _, layers, lay_out = heard_with_attention(self.name, canvas, picture)
            return lay_out(rollout([weights.mean(dim=1) for weights in layers]))


def rollout(layers: list[Tensor]) -> Tensor:
    """Multiply attention, (batch, tokens, tokens) from shallow to deep, each half of it what passes by.

    Every row sums to one.

    >>> rollout([torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])])
    tensor([[[0.5000, 0.5000],
             [0.0000, 1.0000]]])
    """
    same = torch.eye(layers[0].shape[-1]).to(layers[0])
    found = same.expand_as(layers[0])
    for weights in layers:
        found = (weights + same) / 2 @ found
    return found
