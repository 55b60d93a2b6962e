"""Kaldi's log-mel filterbank features ("fbank"), differentiable and without dither."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earmark.features.mel import hz_to_mel

WINDOW = 400  # samples: 25 ms at 16 kHz
HOP = 160  # samples: 10 ms
SAMPLE_RATE = 16000
LOWEST_HZ = 20.0

_N_FFT = 512
_PREEMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps  # under the logarithm


def kaldi_filterbank(n_mels: int = 128) -> Tensor:
    """Return Kaldi's triangles from 20 Hz to 8 kHz, (n_mels, 257), float32.

    Their sides are straight in mel where those of `earmark.features.mel` are straight in Hz.

    >>> bank = kaldi_filterbank()
    >>> tuple(bank.shape), bool(bank.max() <= 1), float(bank[:, -1].max())
    ((128, 257), True, 0.0)
    """
    nyquist = SAMPLE_RATE / 2
    lowest, highest = hz_to_mel(torch.tensor([LOWEST_HZ, nyquist], dtype=torch.float64))
    step = (highest - lowest) / (n_mels + 1)
    centres = lowest + step * torch.arange(1, n_mels + 1, dtype=torch.float64)
    bins = hz_to_mel(torch.linspace(0, nyquist, _N_FFT // 2 + 1, dtype=torch.float64))
    bank = (1 - (bins[None] - centres[:, None]).abs() / step).clamp_min(0).float()
    # At the upper edge of the last triangle nothing but rounding is left.
    bank[:, -1] = 0
    return bank


class KaldiFbank(nn.Module):
    """Log mel energies of frames of 25 ms every 10 ms, as Kaldi computes them at 16 kHz.

    Each frame is freed of its mean, pre-emphasised by 0.97 and weighted with Hann's window; frames that
    reach beyond the sound are left out.

    Source: ``compute-fbank-feats`` of Kaldi, ``--window-type=hanning --dither=0 --use-energy=false``.

    Args:
        n_mels: number of bands.

    >>> tuple(KaldiFbank()(torch.randn(2, 16000)).shape)
    (2, 128, 98)
    """

    bank: Tensor
    window: Tensor

    def __init__(self, n_mels: int = 128) -> None:
        super().__init__()
        self.register_buffer("bank", kaldi_filterbank(n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Turn (batch, samples) into (batch, n_mels, frames); silence is added to less than one frame."""
        # In bands beside a loud tone single precision is off by some thousandths; Metal has nothing better.
        precision = torch.float32 if waveform.device.type == "mps" else torch.float64
        padded = F.pad(waveform, (0, max(0, WINDOW - waveform.shape[-1])))
        frames = padded.to(precision).unfold(-1, WINDOW, HOP)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frames - _PREEMPHASIS * before) * self.window, _N_FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        energies = power @ self.bank.T.to(precision)
        return energies.clamp_min(_FLOOR).log().transpose(1, 2).to(waveform.dtype)
