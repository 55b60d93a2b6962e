"""Front ends: from the STFT that masks live on to what networks eat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

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

    def __post_init__(self) -> None:
        """Refuse what no mel spectrogram has."""
        for name, kinds in (("log", Log), ("scale", MelScale)):
            if getattr(self, name) not in get_args(kinds):
                given, known = f"{name} is {getattr(self, name)!r}", ", ".join(map(repr, get_args(kinds)))
                raise ModelError(given, f"one of {known}")
        for name in ("n_mels", "power", "floor"):
            if not getattr(self, name) > 0:
                raise ModelError(f"{name} is {getattr(self, name)}", "a number above 0")
        if self.f_min < 0 or (self.f_max is not None and self.f_max <= self.f_min):
            raise ModelError(f"the bands go from {self.f_min} to {self.f_max} Hz", "0 <= f_min < f_max")


@dataclass(frozen=True)
class Mfcc:
    """Settings of mel-frequency cepstral coefficients: the orthonormal DCT-II of a log-mel spectrogram.

    Args:
        n_mfcc: how many are kept, from the lowest.
        mel: the log-mel spectrogram; librosa's by default.
    """

    n_mfcc: int = 20
    mel: LogMel = field(default_factory=lambda: LogMel(n_mels=128, top_db=80.0))

    def __post_init__(self) -> None:
        """Refuse more coefficients than there are bands."""
        if not 0 < self.n_mfcc <= self.mel.n_mels:
            raise ModelError(f"n_mfcc is {self.n_mfcc}", f"1 … {self.mel.n_mels}, as many as there are bands")


Takes: TypeAlias = (
    "Literal['waveform', 'complex', 'magnitude', 'power'] | LogMel | Mfcc | Callable[[Tensor], Tensor]"
)
"""What a network eats: a name, the settings of a front end, or a function of the complex STFT."""

Bands: TypeAlias = "Literal['linear'] | LogMel"
"""What the rows of a network's own pictures are: linear bins, or mel bands."""


class MelBank(nn.Module):
    """A (log-)mel spectrogram of the STFT.

    >>> spectrogram = Spectrogram()
    >>> bank = MelBank(spectrogram, LogMel(n_mels=40))
    >>> tuple(bank(spectrogram(torch.randn(1, 16000))).shape)
    (1, 40, 87)
    """

    bank: Tensor

    def __init__(self, spectrogram: Spectrogram, settings: LogMel) -> None:
        super().__init__()
        nyquist, bins = spectrogram.sample_rate / 2, spectrogram.bins
        if (settings.f_max or 0) > nyquist or settings.n_mels > bins:
            given = f"{settings.n_mels} bands up to {settings.f_max or nyquist:g} Hz"
            raise ModelError(given, f"at most {bins}, the bins of the STFT, up to {nyquist:g} Hz")
        self.settings = settings
        self.spectrogram_rate = spectrogram.sample_rate
        self.frequencies = spectrogram.frequencies()
        it = settings
        bank = mel_filterbank(
            spectrogram.sample_rate, spectrogram.config.n_fft, it.n_mels, it.f_min, it.f_max, it.scale
        )
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """Return (batch, bands, frames) of a complex or absolute (batch, bins, frames)."""
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
        """Return the warp from its bands to linear bins, (bins, bands)."""
        it = self.settings
        f_max = self.spectrogram_rate / 2 if it.f_max is None else it.f_max
        return bands_to_bins(mel_position(self.frequencies, it.n_mels, it.f_min, f_max, it.scale), it.n_mels)


class FrontEnd(nn.Module):
    """Turns a complex (batch, bins, frames) into what a network eats, and says what its rows are.

    Decoders look at a mel picture of the sound, unless the features themselves are one.

    Attributes:
        hears_phase: whether it needs complex spectra.
        has_bands: whether the rows of what a network makes of it are frequencies.
        layout: how networks mostly want it, see `earmark.classifiers.wrap.arrange`.
    """

    hears_phase = False
    has_bands = True
    layout = "bft"

    def __init__(self, spectrogram: Spectrogram) -> None:
        super().__init__()
        bands = min(_PICTURE_BANDS, spectrogram.bins // 2)
        self.mel = MelBank(spectrogram, LogMel(bands, scale="htk", power=1, log="log1p"))

    def forward(self, stft: Tensor) -> Tensor:
        """Return real features, (batch, rows, columns)."""
        raise NotImplementedError

    def enter(self, features: Tensor) -> Tensor:
        """Return what the network gets of the features."""
        return features

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.picture`."""
        picture: Tensor = self.mel(stft)
        return picture

    def bands_to_bins(self) -> Tensor:
        """See `earmark.classifiers.base.AudioClassifier.bands_to_bins`."""
        return self.mel.bands_to_bins()

    def maps_to_bins(self) -> Tensor | None:
        """See `earmark.classifiers.base.AudioClassifier.maps_to_bins`."""
        return None


class LinearFrontEnd(FrontEnd):
    """Magnitudes, or a power of them."""

    def __init__(self, spectrogram: Spectrogram, power: float) -> None:
        super().__init__(spectrogram)
        self.power = power

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        return stft.abs() if self.power == 1 else _power(stft, self.power)


class ComplexFrontEnd(FrontEnd):
    """The STFT itself; the features are each bin's real and imaginary part in turn."""

    hears_phase = True

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        # In turn, so that whoever stretches bins over the rows finds each at its place.
        return torch.stack([stft.real, stft.imag], dim=2).flatten(1, 2)

    def enter(self, features: Tensor) -> Tensor:
        """Return the complex (batch, bins, frames)."""
        return torch.complex(*features.unflatten(1, (-1, 2)).unbind(2))


class MelFrontEnd(FrontEnd):
    """A (log-)mel spectrogram, which is its own picture."""

    def __init__(self, spectrogram: Spectrogram, settings: LogMel) -> None:
        super().__init__(spectrogram)
        self.mel = MelBank(spectrogram, settings)

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        features: Tensor = self.mel(stft)
        return features

    def picture(self, stft: Tensor, features: Tensor) -> Tensor:
        """Return the features."""
        return features

    def maps_to_bins(self) -> Tensor:
        """See `FrontEnd`."""
        return self.bands_to_bins()


class WaveformFrontEnd(FrontEnd):
    """The sound itself, by the inverse STFT, (batch, 1, samples).

    Args:
        spectrogram: the STFT.
        samples: how long the sounds of the network's training are; a shorter or longer sound comes back up to
            its last whole frame.
        bands: what the rows of the network's own pictures are, if it makes any; without, its maps are taken
            to speak of time alone.
    """

    hears_phase = True
    layout = "bt"

    def __init__(self, spectrogram: Spectrogram, samples: int, bands: Bands | None = None) -> None:
        super().__init__(spectrogram)
        # Held in a tuple, so that it is not a submodule of two parents.
        self._spectrogram = (spectrogram,)
        self.samples = samples
        self.has_bands = bands is not None
        self.own = MelBank(spectrogram, bands) if isinstance(bands, LogMel) else None

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        (spectrogram,) = self._spectrogram
        frames = stft.shape[-1]
        whole = (frames - 1) * spectrogram.config.hop_length
        samples = self.samples if frames == spectrogram.frames(self.samples) else whole
        return spectrogram.inverse(stft, samples)[:, None]

    def maps_to_bins(self) -> Tensor | None:
        """See `FrontEnd`."""
        return self.own.bands_to_bins() if self.own else None


class MfccFrontEnd(FrontEnd):
    """Mel-frequency cepstral coefficients."""

    has_bands = False
    dct: Tensor

    def __init__(self, spectrogram: Spectrogram, settings: Mfcc) -> None:
        super().__init__(spectrogram)
        self.inner = MelBank(spectrogram, settings.mel)
        self.register_buffer("dct", _dct(settings.n_mfcc, settings.mel.n_mels), persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """See `FrontEnd`."""
        return self.dct @ self.inner(stft)


class OwnFrontEnd(FrontEnd):
    """Somebody's own function of the complex STFT; its rows are no frequencies unless that is said."""

    hears_phase = True

    def __init__(
        self, spectrogram: Spectrogram, function: Callable[[Tensor], Tensor], bands: Bands | None = None
    ) -> None:
        super().__init__(spectrogram)
        self.function = function
        self.has_bands = bands is not None
        self.own = MelBank(spectrogram, bands) if isinstance(bands, LogMel) else None

    def maps_to_bins(self) -> Tensor | None:
        """See `FrontEnd`."""
        return self.own.bands_to_bins() if self.own else None

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


def make_front_end(
    takes: Takes, spectrogram: Spectrogram, samples: int, bands: Bands | None = None
) -> FrontEnd:
    """Build what turns the STFT into what a network eats.

    Args:
        takes: what that is.
        spectrogram: the STFT that masks live on.
        samples: how long the sounds of the network's training are.
        bands: what the rows of the network's own pictures are, where it or a function makes them.

    Raises:
        ModelError: it is none of the known kinds, or has bands of its own already.
    """
    its_own = takes == "waveform" or (callable(takes) and not isinstance(takes, LogMel | Mfcc))
    if bands is not None and not (its_own and (bands == "linear" or isinstance(bands, LogMel))):
        given = f"bands is {bands!r}, and takes {takes!r}"
        raise ModelError(given, "'linear' or a LogMel, for waveforms or a function of your own", "drop bands")
    if isinstance(takes, LogMel):
        return MelFrontEnd(spectrogram, takes)
    if isinstance(takes, Mfcc):
        return MfccFrontEnd(spectrogram, takes)
    if callable(takes):
        return OwnFrontEnd(spectrogram, takes, bands)
    if takes == "waveform":
        return WaveformFrontEnd(spectrogram, samples, bands)
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
