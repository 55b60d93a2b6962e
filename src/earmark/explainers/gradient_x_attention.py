"""Gradient × attention: what a transformer looked at for a class, through all its layers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from earmark.explainers.attention import heard_with_attention
from earmark.explainers.attribution import Attribution, Canvas, Picture
from earmark.explainers.base import register


@register("gradient-x-attention")
class GradientXAttention(Attribution):
    """The attention of each head, weighted by its gradient where that speaks for the class, of all layers.

    Source: Chefer et al., Generic Attention-Model Explainability for Interpreting Bi-Modal and
    Encoder-Decoder Transformers, ICCV 2021.
    """

    summary = "what a transformer looks at for the class, by gradients"
    choosy = True
    at_once: ClassVar[int] = 1

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the classifier is no transformer, or its tokens have no place on the picture.
        """
        logits, layers, lay_out = heard_with_attention(self.name, canvas, picture)
        # A module of torch hands out a view; what it goes on with is behind that.
        used = [weights if weights._base is None else weights._base for weights in layers]
        slopes = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), used)
        pairs = zip(layers, slopes)
        return lay_out(relevance([(weights.detach(), slope.view_as(weights)) for weights, slope in pairs]))


def relevance(layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return how much each token has of each by attention, (batch, tokens, tokens), beside what it was.

    Args:
        layers: attention and its gradient, (batch, heads, tokens, tokens), from shallow to deep.

    >>> attention = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])
    >>> relevance([(attention, torch.tensor([[[[1.0, 2.0], [-1.0, 1.0]]]]))])
    tensor([[[0.0000, 2.0000],
             [0.0000, 0.5000]]])
    """
    first = layers[0][0][:, 0]
    same = torch.eye(first.shape[-1]).to(first).expand_as(first)
    found = same
    for weights, slope in layers:
        found = found + (weights * slope).relu().mean(dim=1) @ found
    return found - same
