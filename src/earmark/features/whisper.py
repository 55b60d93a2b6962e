"""Whisper's log-mel spectrogram, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.features.mel import mel_filterbank

HIGHEST_HZ = 8000.0

_FLOOR = 1e-10  # under the logarithm
_DECADES = 8.0  # below the loudest; what is quieter is lifted to there
_SCALE = 4.0  # log10 energies are shifted and divided by it


class WhisperLogMel(nn.Module):
    """Whisper's log-mel spectrogram of a sound that silence follows, up to the length that Whisper hears.

    Frames in which there is nothing but that silence are left out; `silence` says what they hold.

    Source: Radford et al., Whisper, 2022, section 2.2.

    Args:
        sample_rate: in Hz.
        n_fft: length of Hann's window in samples.
        hop_length: samples from one frame to the next.
        n_mels: number of bands, Slaney's, up to 8 kHz.
        samples: how much Whisper hears; what is longer is cut.

    >>> log_mel = WhisperLogMel(16000, 400, 160, 80, 480000)
    >>> tuple(log_mel(torch.randn(2, 16000)).shape)  # the last windows reach beyond the sound
    (2, 80, 102)
    """

    bank: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int, samples: int) -> None:
        super().__init__()
        bank = mel_filterbank(sample_rate, n_fft, n_mels, 0, HIGHEST_HZ, scale="slaney")
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.hop_length = hop_length
        self.samples = samples

    def forward(self, waveform: Tensor) -> Tensor:
        """Turn (batch, samples) into (batch, n_mels, frames)."""
        hop, n_fft = self.hop_length, len(self.window)
        frames = -(-(waveform.shape[-1] + n_fft // 2) // hop)
        frames = min(frames, self.samples // hop)
        # Long enough that the mirror image at the end is seen by no frame, unless it is Whisper's own end.
        length = min(self.samples, frames * hop + n_fft)
        waveform = F.pad(waveform, (0, length - waveform.shape[-1]))
        stft = torch.stft(waveform, n_fft, hop, window=self.window, pad_mode="reflect", return_complex=True)
        stft = stft[..., :frames]
        mel = self.bank @ (stft.real.square() + stft.imag.square())
        decades = mel.clamp_min(_FLOOR).log10()
        quietest = decades.amax(dim=(1, 2), keepdim=True) - _DECADES
        return (torch.maximum(decades, quietest) + _SCALE) / _SCALE

    def silence(self, features: Tensor) -> Tensor:
        """Return what frames of silence hold after these, (batch, n_mels, frames) → (batch, 1, 1)."""
        floor = torch.log10(features.new_tensor(_FLOOR)) / _SCALE + 1
        return torch.maximum(features.amax(dim=(1, 2), keepdim=True) - _DECADES / _SCALE, floor)
