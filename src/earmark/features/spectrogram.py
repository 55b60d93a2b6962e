"""The linear STFT that masks live on, and its exact inverse."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

# The share of the window that a hop may be, so that the last samples, under the tail of one window alone,
# are not divided by next to nothing: Hann's window vanishes at its ends, Hamming's does not.
_LONGEST_HOP = {"hamming": 0.5, "hann": 0.45}


class SpectrogramConfig(BaseModel):
    """Settings of a short-time Fourier transform; the defaults are those of the L-MAC paper's recipe.

    Args:
        sample_rate: in Hz.
        n_fft: length of the transform in samples; a shorter window is zero-padded to it.
        win_length: length of the window in samples, at most ``n_fft``.
        hop_length: samples from one frame to the next, at most half of ``win_length``, or 0.45 of it for
            Hann's window.
        window: Hamming's or Hann's, both periodic.
        pad: what lies beyond both ends of a sound, "constant" for silence or "reflect" for its mirror image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: PositiveInt = 16000
    n_fft: PositiveInt = 1024
    win_length: PositiveInt = 372
    hop_length: PositiveInt = 186
    window: Literal["hamming", "hann"] = "hamming"
    pad: Literal["constant", "reflect"] = "constant"

    @classmethod
    def at(cls, sample_rate: int) -> SpectrogramConfig:
        """Return the recipe's windows, 23 ms every 12 ms, at another rate in Hz.

        >>> SpectrogramConfig.at(16000) == SpectrogramConfig(), SpectrogramConfig.at(44100).n_fft
        (True, 4096)
        """
        hop = max(2, round(186 / 16000 * sample_rate))
        n_fft = 1 << math.ceil(math.log2(1024 / 16000 * sample_rate))
        return cls(sample_rate=sample_rate, n_fft=n_fft, win_length=2 * hop, hop_length=hop)

    @model_validator(mode="after")
    def _fits(self) -> SpectrogramConfig:
        share = _LONGEST_HOP[self.window]
        if not self.hop_length <= share * self.win_length <= share * self.n_fft:
            rule = f"hop_length <= {share:g} * win_length and win_length <= n_fft"
            raise ValueError(f"{rule} must hold for the inverse to be exact")
        if self.n_fft % 2:
            raise ValueError("n_fft must be even, so that its last bin is half the sample rate")
        return self


class Spectrogram(nn.Module):
    """Centred STFT with an inverse that returns every sample.

    Complex spectra are (batch, bins, frames) with ``bins = n_fft // 2 + 1`` and
    ``frames = samples // hop_length + 1``.

    >>> spectrogram = Spectrogram()
    >>> waveform = torch.randn(2, 80000, generator=torch.Generator().manual_seed(0))
    >>> stft = spectrogram(waveform)
    >>> tuple(stft.shape)
    (2, 513, 431)
    >>> bool((spectrogram.inverse(stft, 80000) - waveform).abs().max() < 1e-5)
    True
    """

    window: Tensor

    def __init__(self, config: SpectrogramConfig | None = None) -> None:
        super().__init__()
        self.config = config or SpectrogramConfig()
        make = {"hamming": torch.hamming_window, "hann": torch.hann_window}[self.config.window]
        self.register_buffer("window", make(self.config.win_length), persistent=False)

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz of the waveforms this transform is meant for."""
        return self.config.sample_rate

    @property
    def bins(self) -> int:
        """Number of linear frequency bins, 0 Hz and the Nyquist frequency included."""
        return self.config.n_fft // 2 + 1

    def frequencies(self) -> Tensor:
        """Centre frequency of each bin in Hz, (bins,)."""
        return torch.linspace(0, self.sample_rate / 2, self.bins)

    def frames(self, samples: int) -> int:
        """Return the number of frames that ``samples`` samples give."""
        return samples // self.config.hop_length + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform (batch, samples) to a complex (batch, bins, frames)."""
        config, samples = self.config, waveform.shape[-1]
        if config.pad == "reflect" and samples <= config.n_fft // 2:
            # Too short to be mirrored as far as the window reaches: silence follows it instead.
            waveform = F.pad(waveform, (0, config.n_fft // 2 + 1 - samples))
        stft = torch.stft(
            waveform,
            config.n_fft,
            config.hop_length,
            config.win_length,
            self.window,
            center=True,
            pad_mode=config.pad,
            return_complex=True,
        )
        return stft[..., : self.frames(samples)]

    def inverse(self, stft: Tensor, samples: int) -> Tensor:
        """Transform a complex (batch, bins, frames) back to (batch, samples)."""
        config = self.config
        return torch.istft(
            stft, config.n_fft, config.hop_length, config.win_length, self.window, center=True, length=samples
        )
