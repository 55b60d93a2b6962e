"""A transformer's attention: caught as it is computed, and laid out on what is masked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from earmark.classifiers.taps import Layout, Tokens, to_map
from earmark.errors import ModelError
from earmark.explainers.attribution import Canvas, Picture
from earmark.explainers.cam import spread

_SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)


class AttentionWeights(TorchFunctionMode):
    """Collects the weights of every self-attention that runs within, from shallow to deep.

    They are those that the network goes on with, so that logits have a gradient with respect to them. It
    knows torch's attention by modules and by functions, and what is a plain softmax. Nothing of the network
    is changed.

    Attributes:
        caught: (batch, heads, tokens, tokens) each; rows are who looks, columns what is looked at.

    >>> attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> tokens = torch.randn(1, 5, 8)
    >>> with AttentionWeights() as weights:
    ...     mixed, _ = attention(tokens, tokens, tokens, need_weights=False)
    >>> [tuple(each.shape) for each in weights.caught]
    [(1, 2, 5, 5)]
    """

    def __init__(self) -> None:
        super().__init__()
        self.caught: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, and look at what it gives if it is attention."""
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            mixed, weights = func(*args, **kwargs | {"need_weights": True, "average_attn_weights": False})
            self._catch(weights)
            return mixed, weights
        if func is F.scaled_dot_product_attention and not kwargs.get("enable_gqa"):
            return self._attend(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX:
            self._catch(result)
        return result

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Compute `torch.nn.functional.scaled_dot_product_attention` step by step, without dropout."""
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()
        if attn_mask is not None:
            is_bool = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if is_bool else scores + attn_mask
        weights = scores.softmax(dim=-1)
        self._catch(weights)
        return weights @ value

    def _catch(self, weights: Tensor) -> None:
        if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2] > 1:
            self.caught.append(weights)


def who_looks(tokens: Tensor, skip: int) -> Tensor:
    """Return what the answer is read from: the mean row of the class tokens, or of all if there are none.

    Args:
        tokens: (batch, tokens, tokens), how much each row is about each column.
        skip: tokens before the patches.

    Returns:
        (batch, tokens).
    """
    return (tokens[:, :skip] if skip else tokens).mean(dim=1)


def heard_with_attention(
    method: str, canvas: Canvas, picture: Picture
) -> tuple[Tensor, list[Tensor], Callable[[Tensor], Tensor]]:
    """Run a classifier, and catch its attention.

    Args:
        method: who asks, for the message.
        canvas: the classifier.
        picture: the sounds.

    Returns:
        logits, the weights of each layer, and a function that lays out how much each token is about each,
        (batch, tokens, tokens), on the pictures, (batch, rows, frames); on silence nothing.

    Raises:
        ModelError: there is no attention, or its tokens have no place on the picture.
    """
    features = canvas.features(picture.inputs.detach().requires_grad_(), *picture.extra)
    with AttentionWeights() as attention:
        logits, representations = canvas.classifier.representations(features)
    name = type(getattr(canvas.classifier, "network", canvas.classifier)).__name__
    if not attention.caught:
        given, fix = f"{method} needs attention, and {name} has none", "pick another method, such as gradcam"
        raise ModelError(given, "a transformer", fix)
    count = attention.caught[-1].shape[-1]
    layers = [weights for weights in attention.caught if weights.shape[-1] == count]
    layout = _layout(canvas, count)
    if layout is None:
        given = f"{method} finds no place on the picture for the {count} tokens of {name}"
        raise ModelError(given, "patches or steps in time", "name a layer of them with wrap(…, layers={…})")
    width = representations[-1].shape[-1]
    skip = layout.skip if isinstance(layout, Tokens) else 0

    def lay_out(tokens: Tensor) -> Tensor:
        maps = to_map(who_looks(tokens, skip)[:, :, None], layout)[:, 0]
        # Columns beyond the sound are padding, which the network may look at too.
        maps = F.pad(maps, (0, max(0, width - maps.shape[-1])))[..., :width]
        heard = picture.inputs.any(dim=2).any(dim=1)[:, None, None]
        return torch.where(heard, spread(maps, canvas, picture.inputs.shape[1:]), 0)

    return logits, layers, lay_out


def _layout(canvas: Canvas, count: int) -> Layout | None:
    """Return how so many tokens lie, by what is known of the layers that the feature maps come from."""
    classifier = canvas.classifier
    layers = getattr(classifier, "layers", {})
    for layout in reversed(list(layers.values())):
        if isinstance(layout, Tokens) and layout.skip + layout.rows * layout.columns == count:
            return layout
        if layout == "btc":
            return layout
    return None
