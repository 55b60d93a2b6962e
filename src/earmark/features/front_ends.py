"""Front ends: from the STFT that masks live on to what networks eat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from earmark.errors import ModelError
from earmark.features.bands import bands_to_bins
from earmark.features.mel import MelScale, mel_filterbank, mel_position
from earmark.features.spectrogram import Spectrogram

Log = Literal["db", "ln", "log10", "log1p", "none"]
_PICTURE_BANDS = 80


@dataclass(frozen=True)
class LogMel:
    """Settings of a (log-)mel spectrogram of the STFT that masks live on.

    Args:
        n_mels: number of bands.
        f_min: lower edge of the lowest band in Hz.
        f_max: upper edge of the highest band in Hz; half the sample rate if not given.
        scale: which triangles, see `earmark.features.mel.mel_filterbank`; "slaney" is librosa's default.
        power: of the magnitude: 1, or 2 as librosa and most networks have it.
        log: "db" is 10·log10, "ln" and "log10" the logarithm of what is at least ``floor``; "log1p" is
            ln(1 + x); "none" leaves it out.
        floor: what smaller values are lifted to.
        top_db: for "db", values this far below the clip's largest are lifted to there; None leaves them.
    """

    n_mels: int = 64
    f_min: float = 0.0
    f_max: float | None = None
    scale: MelScale = "slaney"
    power: float = 2.0
    log: Log = "db"
    floor: float = 1e-10
    top_db: float | None = None


@dataclass(frozen=True)
class Mfcc:
    """Settings of mel-frequency cepstral coefficients: the orthonormal DCT-II of a log-mel spectrogram.

    Args:
        n_mfcc: how many are kept, from the lowest.
        mel: the log-mel spectrogram.
    """

    n_mfcc: int = 20
    mel: LogMel = field(default_factory=lambda: LogMel(n_mels=128))


Takes: TypeAlias = (
    "Literal['waveform', 'complex', 'magnitude', 'power'] | LogMel | Mfcc | Callable[[Tensor], Tensor]"
)
"""What a network eats: a name, the settings of a front end, or a function of the complex STFT."""


class FrontEnd(nn.Module):
    """Turns a complex (batch, bins, frames) into what a network eats, and says what its rows are.

    Attributes:
        hears_phase: whether it needs complex spectra.
        has_bands: whether its rows, or those of what a network makes of it, are frequencies.
        layout: how networks mostly want it, see `earmark.classifiers.wrap.arrange`.
    """

    hears_phase = False
    has_bands = True
    layout = "bft"

    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__()
        self.bins = spectrogram.bins

    def forward(self, stft: Tensor) -> Tensor:
        """Return real features, (batch, rows, columns)."""
        raise NotImplementedError

    def enter(self, features: Tensor) -> Tensor:
        """Return what the network gets of the features."""
        return features

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.picture`."""
        return features

    def bands_to_bins(self) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.bands_to_bins`."""
        return torch.eye(self.bins)


class LinearFrontEnd(FrontEnd):
    """Magnitudes, or a power of them."""

    def __init__(self, spectrogram: Spectrogram, power: float) -> None:
        super().__init__(spectrogram)
        self.power = power

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        return stft.abs() if self.power == 1 else _power(stft, self.power)

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return log1p magnitudes."""
        return stft.abs().log1p()


class ComplexFrontEnd(FrontEnd):
    """The STFT itself; the features are its real and its imaginary parts, (batch, 2 · bins, frames)."""

    hears_phase = True

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        return torch.cat([stft.real, stft.imag], dim=1)

    def enter(self, features: Tensor) -> Tensor:
        """Return the complex (batch, bins, frames)."""
        return torch.complex(*features.chunk(2, dim=1))

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return log1p magnitudes."""
        return stft.abs().log1p()


class MelFrontEnd(FrontEnd):
    """A (log-)mel spectrogram.

    >>> spectrogram = Spectrogram()
    >>> front = MelFrontEnd(spectrogram, LogMel(n_mels=40))
    >>> tuple(front(spectrogram(torch.randn(1, 16000))).shape)
    (1, 40, 87)
    """

    bank: Tensor

    def __init__(self, spectrogram: Spectrogram, settings: LogMel) -> None:
        super().__init__(spectrogram)
        self.settings = settings
        self.spectrogram_rate = spectrogram.sample_rate
        self.frequencies = spectrogram.frequencies()
        it = settings
        bank = mel_filterbank(
            spectrogram.sample_rate, spectrogram.config.n_fft, it.n_mels, it.f_min, it.f_max, it.scale
        )
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        it = self.settings
        mel = self.bank @ (stft.abs() if it.power == 1 else _power(stft, it.power))
        if it.log in ("none", "log1p"):
            return mel if it.log == "none" else mel.log1p()
        lifted = mel.clamp_min(it.floor)
        if it.log == "ln":
            return lifted.log()
        decades = lifted.log10()
        if it.log == "log10":
            return decades
        decibels = 10 * decades
        if it.top_db is None:
            return decibels
        return torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - it.top_db)

    def bands_to_bins(self) -> Tensor:
        """See `FrontEnd`."""
        it = self.settings
        f_max = self.spectrogram_rate / 2 if it.f_max is None else it.f_max
        return bands_to_bins(mel_position(self.frequencies, it.n_mels, it.f_min, f_max, it.scale), it.n_mels)


class _Blind(FrontEnd):
    """A front end whose rows are no frequencies: decoders look at a mel picture of the sound instead."""

    has_bands = False

    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__(spectrogram)
        bands = min(_PICTURE_BANDS, spectrogram.bins // 2)
        self.mel = MelFrontEnd(spectrogram, LogMel(bands, scale="htk", power=1, log="log1p"))

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return log1p mel magnitudes."""
        picture: Tensor = self.mel(stft)
        return picture

    def bands_to_bins(self) -> Tensor:
        """See `FrontEnd`."""
        return self.mel.bands_to_bins()


class WaveformFrontEnd(_Blind):
    """The sound itself, by the inverse STFT, (batch, 1, samples); a network's own maps may have bands.

    Args:
        spectrogram: the STFT.
        samples: how long the sounds of the network's training are; a shorter or longer sound comes back up to
            its last whole frame.
    """

    hears_phase = True
    has_bands = True
    layout = "bt"

    def __init__(self, spectrogram: Spectrogram, samples: int) -> None:
        super().__init__(spectrogram)
        # Held in a tuple, so that it is not a submodule of two parents.
        self._spectrogram = (spectrogram,)
        self.samples = samples

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        (spectrogram,) = self._spectrogram
        frames = stft.shape[-1]
        whole = (frames - 1) * spectrogram.config.hop_length
        samples = self.samples if frames == spectrogram.frames(self.samples) else whole
        return spectrogram.inverse(stft, samples)[:, None]


class MfccFrontEnd(_Blind):
    """Mel-frequency cepstral coefficients."""

    dct: Tensor

    def __init__(self, spectrogram: Spectrogram, settings: Mfcc) -> None:
        super().__init__(spectrogram)
        self.inner = MelFrontEnd(spectrogram, settings.mel)
        self.register_buffer("dct", _dct(settings.n_mfcc, settings.mel.n_mels), persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        return self.dct @ self.inner(stft)


class OwnFrontEnd(_Blind):
    """Somebody's own function of the complex STFT."""

    hears_phase = True

    def __init__(self, spectrogram: Spectrogram, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(spectrogram)
        self.function = function

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`.

        Raises:
            ModelError: the function gives something else.
        """
        features = self.function(stft)
        if not isinstance(features, Tensor) or features.ndim != 3 or features.is_complex():
            given = f"the front end gives {describe(features)}"
            raise ModelError(given, "real numbers, (batch, rows, frames)", "let the network add other axes")
        return features


def make_front_end(takes: Takes, spectrogram: Spectrogram, samples: int) -> FrontEnd:
    """Build what turns the STFT into what a network eats.

    Args:
        takes: what that is.
        spectrogram: the STFT that masks live on.
        samples: how long the sounds of the network's training are.

    Raises:
        ModelError: it is none of the known kinds.
    """
    if isinstance(takes, LogMel):
        return MelFrontEnd(spectrogram, takes)
    if isinstance(takes, Mfcc):
        return MfccFrontEnd(spectrogram, takes)
    if callable(takes):
        return OwnFrontEnd(spectrogram, takes)
    if takes == "waveform":
        return WaveformFrontEnd(spectrogram, samples)
    if takes == "complex":
        return ComplexFrontEnd(spectrogram)
    if takes in ("magnitude", "power"):
        return LinearFrontEnd(spectrogram, 1 if takes == "magnitude" else 2)
    given = f"takes is {takes!r}"
    kinds = "'waveform', 'complex', 'magnitude', 'power', a LogMel, an Mfcc, or a function of the STFT"
    raise ModelError(given, kinds)


def describe(value: object) -> str:
    """Say in a few words what a value is, for an error.

    >>> describe(torch.zeros(2, 3)), describe((1, 2)), describe({"logits": 1})
    ('a tensor of shape (2, 3)', 'a tuple of 2', "a dict with 'logits'")
    """
    if isinstance(value, Tensor):
        kind = "" if value.dtype == torch.float32 else f" and type {str(value.dtype).removeprefix('torch.')}"
        return f"a tensor of shape {tuple(value.shape)}{kind}"
    if isinstance(value, dict):
        return f"a {type(value).__name__} with {', '.join(map(repr, list(value)[:5])) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _power(stft: Tensor, power: float) -> Tensor:
    # |X|² without the root, whose slope has no end at 0.
    square = stft.real.square() + stft.imag.square() if stft.is_complex() else stft.square()
    return square if power == 2 else square.clamp_min(torch.finfo(square.dtype).tiny) ** (power / 2)


def _dct(n_mfcc: int, n_mels: int) -> Tensor:
    """Return the orthonormal DCT-II, (n_mfcc, n_mels)."""
    place = torch.arange(n_mels, dtype=torch.float64) + 0.5
    wave = torch.cos(math.pi / n_mels * torch.arange(n_mfcc, dtype=torch.float64)[:, None] * place)
    wave *= math.sqrt(2 / n_mels)
    wave[0] /= math.sqrt(2)
    return wave.float()
