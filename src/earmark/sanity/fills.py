"""What may stand in a spectrum in place of what was removed: each fill is wrong in another way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

_BLUR = (9, 25)  # bins and frames: wider than partials and onsets


def zeros(stft: Tensor, generator: Generator) -> Tensor:
    """Return silence: the fill that masks use, which no microphone gives.

    Args:
        stft: complex (batch, bins, frames).
        generator: not used.
    """
    return torch.zeros_like(stft)


def mean(stft: Tensor, generator: Generator) -> Tensor:
    """Return each bin's mean magnitude over the clip, with its own phases; arguments as `zeros`."""
    level = stft.abs().mean(dim=2, keepdim=True)
    return torch.polar(level.expand(stft.shape), stft.angle())


def noise(stft: Tensor, generator: Generator) -> Tensor:
    """Return noise with the clip's mean power spectrum.

    Args:
        stft: complex (batch, bins, frames).
        generator: of the noise, on the CPU.
    """
    level = stft.abs().square().mean(dim=2, keepdim=True).sqrt()
    return level * torch.randn(stft.shape, generator=generator, dtype=stft.dtype).to(stft.device)


def blurred(stft: Tensor, generator: Generator) -> Tensor:
    """Return the magnitudes smeared over time and frequency, with the phases; arguments as `zeros`."""
    smooth = stft.abs()[:, None]
    for size, dim in zip(_BLUR, (2, 3)):
        kernel = torch.hann_window(size + 2, periodic=False, device=stft.device)[1:-1]
        shape = [1, 1, 1, 1]
        shape[dim] = size
        half = size // 2
        pad = (half, half, 0, 0) if dim == 3 else (0, 0, half, half)
        smooth = F.conv2d(F.pad(smooth, pad, mode="replicate"), (kernel / kernel.sum()).view(shape))
    return torch.polar(smooth[:, 0], stft.angle())


FILLS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "zeros": zeros,
    "mean": mean,
    "noise": noise,
    "blurred": blurred,
}
"""All fills by name."""
