"""The linear STFT that masks live on, and its exact inverse."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator
from torch import Tensor, nn


class SpectrogramConfig(BaseModel):
    """Settings of a short-time Fourier transform; the defaults are those of the L-MAC paper's recipe.

    The window is Hamming's, periodic: it does not vanish at its ends, so that the last samples, which
    lie under the tail of one window alone, come back as exactly as all others.

    Args:
        sample_rate: in Hz.
        n_fft: length of the transform in samples; a shorter window is zero-padded to it.
        win_length: length of the window in samples, at most ``n_fft``.
        hop_length: samples from one frame to the next, at most half of ``win_length``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: PositiveInt = 16000
    n_fft: PositiveInt = 1024
    win_length: PositiveInt = 372
    hop_length: PositiveInt = 186

    @model_validator(mode="after")
    def _fits(self) -> SpectrogramConfig:
        if not 2 * self.hop_length <= self.win_length <= self.n_fft:
            raise ValueError("2 * hop_length <= win_length <= n_fft must hold for the inverse to be exact")
        if self.n_fft % 2:
            raise ValueError("n_fft must be even, so that its last bin is half the sample rate")
        return self


class Spectrogram(nn.Module):
    """Centred, zero-padded STFT with an inverse that returns every sample.

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
        self.register_buffer("window", torch.hamming_window(self.config.win_length), persistent=False)

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
        config = self.config
        return torch.stft(
            waveform,
            config.n_fft,
            config.hop_length,
            config.win_length,
            self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )

    def inverse(self, stft: Tensor, samples: int) -> Tensor:
        """Transform a complex (batch, bins, frames) back to (batch, samples)."""
        config = self.config
        return torch.istft(
            stft, config.n_fft, config.hop_length, config.win_length, self.window, center=True, length=samples
        )
