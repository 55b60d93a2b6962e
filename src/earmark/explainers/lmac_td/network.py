"""LMAC-TD's separator: from a waveform and a classifier's representations to the sound that explains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self


class LmacTdConfig(BaseModel):
    """What a trained LMAC-TD is, beside its weights.

    Args:
        window: length of the filters in samples, even.
        hop: samples from one frame to the next, at most half a window, which it divides.
        channels: of what the blocks hand on.
        hidden: within a block.
        kernel: frames that a block's convolution over time looks at, odd.
        dilations: of the blocks, one each.
        bands: into how many bands of frequency the classifier's feature maps are pooled; maps that speak of
            time alone have one.
        alpha: α in [0, 1], how much the separator listens to the classifier's representations and not to the
            waveform.
        description: how it was trained, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: PositiveInt = 256
    hop: PositiveInt = 128
    channels: PositiveInt = 96
    hidden: PositiveInt = 192
    kernel: PositiveInt = 5
    dilations: tuple[PositiveInt, ...] = Field((1, 2, 4, 8, 1, 2, 4, 8), min_length=1)
    bands: PositiveInt = 4
    alpha: float = Field(0.5, ge=0, le=1)
    description: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window % 2 or self.window % self.hop or self.window < 2 * self.hop:
            raise ValueError("window must be even and hold a whole number of hops, at least 2")
        if not self.kernel % 2:
            raise ValueError("kernel must be odd, so that it has a middle")
        return self


class Filterbank(nn.Module):
    """Learned filters that cut a waveform into short frames, and learned ones that make it whole again.

    Each filter is a pair, whose squares add up to a power that does not depend on where in its frame a click
    or the crest of a tone lies. All begin as windowed cosines and sines, which return every sample, and
    nothing holds them there.

    Args:
        window: length of the filters in samples.
        hop: samples from one frame to the next.

    Source: Luo and Mesgarani, Conv-TasNet, TASLP 2019; in pairs: Pariente et al., Filterbank Design for
    End-to-End Speech Separation, ICASSP 2020.

    >>> filterbank = Filterbank(32, 8)
    >>> waveform = torch.randn(2, 101)
    >>> latent = filterbank(waveform)
    >>> tuple(latent.shape)
    (2, 34, 16)
    >>> bool(torch.allclose(filterbank.inverse(latent, 101), waveform, atol=1e-5))
    True
    """

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.filters = window // 2 + 1
        self.analysis = nn.Conv1d(1, 2 * self.filters, window, hop, bias=False)
        self.synthesis = nn.ConvTranspose1d(2 * self.filters, 1, window, hop, bias=False)
        analysis, synthesis = fourier_filters(window)
        with torch.no_grad():
            self.analysis.weight.copy_(analysis[:, None])
            self.synthesis.weight.copy_(synthesis[:, None])

    def frames(self, samples: int) -> int:
        """Return the number of frames that ``samples`` samples give."""
        return -(-(samples + self.window - self.hop) // self.hop)

    def forward(self, waveform: Tensor) -> Tensor:
        """Encode (batch, samples) as (batch, 2 · filters, frames), all first halves of the pairs first."""
        samples = waveform.shape[1]
        # Every sample lies in the same number of frames, those at both ends as well.
        before = self.window - self.hop
        whole = (self.frames(samples) - 1) * self.hop + self.window
        latent: Tensor = self.analysis(F.pad(waveform, (before, whole - before - samples))[:, None])
        return latent

    def inverse(self, latent: Tensor, samples: int) -> Tensor:
        """Decode (batch, 2 · filters, frames) to (batch, samples)."""
        before = self.window - self.hop
        waveform: Tensor = self.synthesis(latent)[:, 0, before : before + samples]
        return 2 * self.hop / self.window**2 * waveform


def fourier_filters(window: int) -> tuple[Tensor, Tensor]:
    """Return windowed cosines and sines, and what undoes them but for a factor.

    The window is the root of Hann's, whose squares at every hop add up to window / (2 · hop).

    Returns:
        each (2 · (window // 2 + 1), window), of order 1, so that the steps of a training, which heed no
        weight's size, do not tear them apart.
    """
    time, place = torch.arange(window), torch.arange(window // 2 + 1)
    angle = 2 * torch.pi / window * (place[:, None] * time % window)
    analysis = torch.cat([angle.cos(), angle.sin()]) * torch.hann_window(window).sqrt()
    # Every frequency but the first and the last stands for its negative as well.
    twice = torch.full_like(analysis[:, :1], 2)
    twice[[0, window // 2, window // 2 + 1, window + 1]] = 1
    return analysis, twice * analysis


class Separator(nn.Module):
    """A filterbank, and blocks of dilated convolutions that say what of it belongs to a class.

    They read z = (1 − α) · E(x) + α · U(h): how loud each filter is, and the classifier's feature maps. What
    they let through, the sound's encoding times a mask in [0, 1], is decoded to a sound of its length. No
    layer on that way has a bias, so silence stays silence.

    Args:
        config: its sizes.
        channels: of the classifier's feature maps, from shallow to deep.
        classes: how many the classifier has.
        has_bands: see `earmark.classifiers.base.AudioClassifier`.

    Source: Mancini et al., LMAC-TD: Producing Time Domain Explanations for Audio Classifiers, 2024, whose
    separator is a SepFormer; its blocks here are Conv-TasNet's.
    """

    def __init__(self, config: LmacTdConfig, channels: Sequence[int], classes: int, has_bands: bool) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.bands = config.bands if has_bands else 1
        self.filterbank = Filterbank(config.window, config.hop)
        filters, width = self.filterbank.filters, config.channels
        self.entry = _projection(filters, width)
        self.laterals = nn.ModuleList(_projection(c * self.bands, width) for c in channels)
        self.blocks = nn.ModuleList(_Block(config, dilation) for dilation in config.dilations)
        # Small weights: at first every class leaves the maps nearly as they are.
        self.condition = nn.ModuleList(
            nn.Embedding(classes, 2 * width, _weight=0.1 * torch.randn(classes, 2 * width))
            for _ in config.dilations
        )
        self.head = nn.Conv1d(width, filters, 1)

    def forward(
        self, waveform: Tensor, representations: Sequence[Tensor], target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the sounds that explain, and the masks on the encoding that made them.

        Args:
            waveform: (batch, samples).
            representations: the classifier's feature maps, each (batch, channels, height, width).
            target: (batch,), the classes to explain.

        Returns:
            (batch, samples), and (batch, filters, frames) in [0, 1].
        """
        latent = self.filterbank(waveform)
        mask = self.mask(latent, representations, target)
        return self.filterbank.inverse(latent * mask.repeat(1, 2, 1), waveform.shape[1]), mask

    def mask(self, latent: Tensor, representations: Sequence[Tensor], target: Tensor) -> Tensor:
        """Return which part of each filter's output to keep; arguments as above."""
        maps = (1 - self.alpha) * self.entry(loudness(latent))
        maps = maps + self.alpha * self._of_classifier(representations, maps.shape[2])
        for block, condition in zip(self.blocks, self.condition):
            scale, shift = condition(target)[:, :, None].chunk(2, dim=1)
            maps = maps + block(maps * (1 + scale) + shift)
        return torch.sigmoid(self.head(maps))

    def _of_classifier(self, representations: Sequence[Tensor], frames: int) -> Tensor:
        """Return U(h), the mean of all feature maps' projections, (batch, channels, frames)."""
        drawn = []
        for lateral, maps in zip(self.laterals, representations):
            pooled = F.adaptive_avg_pool2d(maps, (self.bands, maps.shape[3])).flatten(1, 2)
            drawn.append(F.interpolate(lateral(pooled), frames, mode="linear", align_corners=False))
        return torch.stack(drawn).mean(0)


def loudness(latent: Tensor) -> Tensor:
    """Return log(1 + 100 · power), power relative to the clip's mean.

    Args:
        latent: (batch, 2 · filters, frames).

    Returns:
        (batch, filters, frames), at least 0; the same for a sound at any level, and 0 for silence.

    >>> loudness(torch.tensor([[[3.0], [0.0], [4.0], [0.0]]]))[0, :, 0]  # powers of 25 and 0, mean 12.5
    tensor([5.3033, 0.0000])
    """
    first, second = latent.chunk(2, dim=1)
    power = first.square() + second.square()
    mean = power.mean(dim=(1, 2), keepdim=True)
    return torch.log1p(100 * power / mean.masked_fill(mean == 0, 1))


class _Block(nn.Module):
    def __init__(self, config: LmacTdConfig, dilation: int) -> None:
        super().__init__()
        width, hidden, kernel = config.channels, config.hidden, config.kernel
        reach = kernel // 2 * dilation
        self.layers = nn.Sequential(
            nn.Conv1d(width, hidden, 1, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, hidden, kernel, padding=reach, dilation=dilation, groups=hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, width, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.layers(maps)
        return found


def _projection(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(channels_in), nn.Conv1d(channels_in, channels, 1))
