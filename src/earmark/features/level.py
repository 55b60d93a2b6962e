"""The level of a sound: classifiers hear each clip at a peak of 1."""

from __future__ import annotations

from torch import Tensor


def peak_normalise(waveform: Tensor) -> Tensor:
    """Scale each waveform, (…, samples), to a largest absolute value of 1; silence stays silence.

    >>> import torch
    >>> peak_normalise(torch.tensor([[0.5, -0.25], [0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000],
            [ 0.0000,  0.0000]])
    """
    return waveform / peak_of(waveform)


def peak_of(waveform: Tensor) -> Tensor:
    """Return the largest absolute value of each waveform, (…, samples) → (…, 1), and 1 for silence."""
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return peak.masked_fill(peak == 0, 1)
