"""The decoders: from a classifier's representations to the logits of a mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.explainers.base import Domain


class DecoderConfig(BaseModel):
    """Which decoder, and what it is fed.

    Args:
        kind: "compact", a small U-Net on the classifier's own features that its representations are
            added to, "paper", transposed convolutions as in the paper's Figure 5, or "recipe", those of the
            authors' code with all its weights, for a classifier of the recipe's shape.
        domain: "stft" for a mask on linear bins, which can be heard, "features" for one on the
            classifier's features.
        channels: of the compact decoder's levels, from the full resolution down, each half the last.
        class_conditional: whether the compact decoder is told the class to explain.
        look_at_features: whether the compact decoder sees the classifier's features besides its
            representations.
        paper_channels: of the paper's decoder; as many as the deepest representation if not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["compact", "paper", "recipe"] = "compact"
    domain: Domain = "stft"
    channels: tuple[PositiveInt, ...] = Field((16, 32, 48, 64, 96), min_length=2)
    class_conditional: bool = True
    look_at_features: bool = True
    paper_channels: PositiveInt | None = None


class Decoder(nn.Module, ABC):
    """Maps representations to mask logits; the mask is their logistic function.

    Args:
        rows: (bins, bands) matrix that carries logits from the picture's bands to the mask's bins,
            or None where the mask lives on the features.
    """

    rows: Tensor | None

    def __init__(self, rows: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("rows", rows, persistent=False)

    def forward(
        self,
        picture: Tensor,
        representations: Sequence[Tensor],
        target: Tensor,
        size: tuple[int, int],
        domain: Domain = "stft",
    ) -> Tensor:
        """Return mask logits.

        Args:
            picture: (batch, bands, frames), see `AudioClassifier.picture`.
            representations: the feature maps, from shallow to deep, each (batch, channels, height, width).
            target: (batch,), the classes to explain.
            size: rows and frames of what the mask is laid on.
            domain: whether that is the STFT, whose bins look up their bands, or the features.

        Returns:
            (batch, rows, frames).
        """
        logits = self.on_picture(picture, representations, target)
        if domain == "stft" and self.rows is not None:
            logits = self.rows @ logits
        if logits.shape[1:] == size:
            return logits
        # A classifier may cut time into frames of its own.
        return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    @abstractmethod
    def on_picture(self, picture: Tensor, representations: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return mask logits at the picture's own resolution, (batch, bands, frames)."""


def make_decoder(
    config: DecoderConfig, channels: Sequence[int], classes: int, rows: Tensor | None
) -> Decoder:
    """Build the decoder that a config describes.

    Args:
        config: which one.
        channels: of the classifier's representations, from shallow to deep.
        classes: how many the classifier has.
        rows: see `Decoder`.
    """
    if config.kind == "paper":
        return PaperDecoder(config, channels, rows)
    if config.kind == "recipe":
        from earmark.explainers.lmac.original import RecipeDecoder

        return RecipeDecoder(channels, rows)
    return CompactDecoder(config, channels, classes, rows)


class CompactDecoder(Decoder):
    """A small U-Net at the picture's resolution.

    Going down it reads the picture; at each level the classifier's representations of about that
    size are added through 1×1 convolutions; the class to explain scales and shifts every level on
    the way up. All of it works for any number of rows and frames.
    """

    def __init__(
        self, config: DecoderConfig, channels: Sequence[int], classes: int, rows: Tensor | None
    ) -> None:
        super().__init__(rows)
        levels = config.channels
        self.look_at_features = config.look_at_features
        self.classes = classes if config.class_conditional else 1
        self.stem = _Convolution(1, levels[0])
        self.down = nn.ModuleList(_Convolution(a, b, stride=2) for a, b in pairwise(levels))
        # A representation enters where the U-Net is as coarse as it, or at the bottom.
        self.entries = [min(index + 1, len(levels) - 1) for index in range(len(channels))]
        self.laterals = nn.ModuleList(_Lateral(c, levels[entry]) for c, entry in zip(channels, self.entries))
        self.bottom = nn.Sequential(*(_Residual(levels[-1]) for _ in range(2)))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(levels))
        self.refine = nn.ModuleList(_Convolution(c, c) for c in levels[:-1])
        # Small weights: at first every class leaves the maps nearly as they are.
        self.condition = nn.ModuleList(
            nn.Embedding(self.classes, 2 * c, _weight=0.1 * torch.randn(self.classes, 2 * c)) for c in levels
        )
        self.head = nn.Conv2d(levels[0], 1, 1)

    def on_picture(self, picture: Tensor, representations: Sequence[Tensor], target: Tensor) -> Tensor:
        """See `Decoder`."""
        condition = target if self.classes > 1 else torch.zeros_like(target)
        maps = picture.unsqueeze(1)
        levels = [self.stem(maps if self.look_at_features else torch.zeros_like(maps))]
        for level, down in enumerate(self.down, start=1):
            maps = down(levels[-1])
            for entry, lateral, inner in zip(self.entries, self.laterals, representations):
                if entry == level:
                    maps = maps + _resize(lateral(inner), maps)
            levels.append(maps)
        maps = self.bottom(self._conditioned(levels[-1], condition, -1))
        for level in reversed(range(len(self.down))):
            maps = levels[level] + _resize(self.up[level](maps), levels[level])
            maps = maps + self.refine[level](self._conditioned(maps, condition, level))
        return self.head(maps).squeeze(1)

    def _conditioned(self, maps: Tensor, condition: Tensor, level: int) -> Tensor:
        scale, shift = self.condition[level](condition)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, maps, 1 + scale)


class PaperDecoder(Decoder):
    """Transposed convolutions over the four deepest representations, U-Net-like (Figure 5).

    Each convolution doubles both axes; the next shallower representation is added to what comes out.
    The result is resized to the picture's resolution, so that any number of frames works, which the
    recipe's own decoder does not allow.
    """

    def __init__(self, config: DecoderConfig, channels: Sequence[int], rows: Tensor | None) -> None:
        super().__init__(rows)
        deepest = list(reversed(channels[-4:]))
        inner = config.paper_channels or deepest[0]
        self.entry = nn.Conv2d(deepest[0], inner, 1)
        self.laterals = nn.ModuleList(nn.Conv2d(c, inner, 1) for c in deepest[1:])
        widths = [inner] * 4 + [max(1, inner // 2), max(1, inner // 4)]
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        )
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def on_picture(self, picture: Tensor, representations: Sequence[Tensor], target: Tensor) -> Tensor:
        """See `Decoder`; the class is not looked at, as in the paper."""
        deepest = list(reversed(representations[-4:]))
        maps = self.entry(deepest[0])
        for index, up in enumerate(self.up):
            if index < len(self.laterals):
                inner = self.laterals[index](deepest[index + 1])
                maps = _resize(maps, inner) + inner
            maps = up(maps)
        return self.head(_resize(maps, picture)).squeeze(1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = _Convolution(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.inner(maps)


class _Convolution(nn.Sequential):
    """A 3×3 convolution, batch-norm and ReLU."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, channels_in, height, width); a norm of fixed statistics becomes part of the weights."""
        if self.training or torch.is_grad_enabled():
            unfolded: Tensor = super().forward(maps)
            return unfolded
        convolution, norm = cast("nn.Conv2d", self[0]), cast("nn.BatchNorm2d", self[1])
        # Anew each time, as that takes less than a pass over maps and is never out of date.
        scale, shift = _fixed(norm)
        weight = convolution.weight * scale[:, None, None, None]
        return F.conv2d(maps, weight, shift, convolution.stride, convolution.padding).relu_()


class _Lateral(nn.Sequential):
    """Batch-norm and a 1×1 convolution."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__(nn.BatchNorm2d(channels_in), nn.Conv2d(channels_in, channels, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, channels_in, height, width); a norm of fixed statistics becomes part of the weights."""
        if self.training or torch.is_grad_enabled():
            unfolded: Tensor = super().forward(maps)
            return unfolded
        norm, convolution = cast("nn.BatchNorm2d", self[0]), cast("nn.Conv2d", self[1])
        scale, shift = _fixed(norm)
        weight, bias = convolution.weight, cast("Tensor", convolution.bias)
        return F.conv2d(maps, weight * scale[:, None, None], bias + weight[:, :, 0, 0] @ shift)


def _fixed(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return by what a norm with fixed statistics multiplies each channel, and what it adds."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale, norm.bias - mean * scale


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    """Interpolate to the last two sizes of another tensor."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)
