"""Lines that sound all along: mains, whistles, fans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.features.spectrogram import Spectrogram
from earmark.sanity.suspect import FAINT, Case, Suspect, stands_out, transform_length

_LINE_DB = 8.0  # above what is around it, all along
_AROUND_HZ = 160.0
# Between the quieter moments of a line (quantiles of 10 and 40 %): mains and whistles are even, rotors and
# engines flutter, and noise goes up and down by 7 dB. Chosen on the development seeds of bench/audit.py.
_EVEN_DB = 1.6
_LINE_WIDTH = 2  # bins to each side, as wide as the window makes it
_MAINS = (50.0, 60.0)
_HARMONICS = 12
_EVEN_SHARES = 0.5, 0.4  # as `stands_out` has them; what is even is rarer in nature than what is loud


def _long_stft(waveform: Tensor, rate: int) -> Tensor:
    n = transform_length(rate)
    window = torch.hann_window(n, device=waveform.device)
    return torch.stft(waveform, n, n // 4, window=window, return_complex=True)


def _smoothed(values: Tensor, width: int) -> Tensor:
    """Return the running median of (batch, bins) over an odd number of bins."""
    half = width // 2
    padded = F.pad(values[:, None], (half, half), mode="replicate")[:, 0]
    return padded.unfold(1, 2 * half + 1, 1).median(-1).values


def _quantiles(waveform: Tensor, rate: int, shares: Sequence[float]) -> Tensor:
    """Return how loud each frequency is at the quieter moments of sounds, (shares, batch, bins) in dB.

    Moments in which all is silent do not count.
    """
    power = _long_stft(waveform, rate).abs().square()
    level = power.sum(1, keepdim=True)
    silent = level <= level.amax(2, keepdim=True) * FAINT**2
    steady = power.masked_fill(silent, torch.nan).nanquantile(power.new_tensor(shares), dim=2)
    return 10 * (steady.nan_to_num(0.0) + 1e-12).log10()


def prominence(waveform: Tensor, rate: int) -> Tensor:
    """Return by how much each frequency is above those around it all along a sound, (batch, bins) in dB.

    "All along" is the 20 % quantile over frames that are not silent, as a sound of its own makes any
    frequency loud for a while.

    Args:
        waveform: (batch, samples).
        rate: in Hz.
    """
    (steady,) = _quantiles(waveform, rate, [0.2])
    width = round(_AROUND_HZ / rate * transform_length(rate)) | 1
    return steady - _smoothed(steady, width)


def unevenness(waveform: Tensor, rate: int) -> Tensor:
    """Return by how much each frequency goes up and down in a sound's quieter moments, (batch, bins) in dB.

    Args:
        waveform: (batch, samples).
        rate: in Hz.
    """
    low, high = _quantiles(waveform, rate, [0.1, 0.4])
    return high - low


def lines_in(waveform: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Return at which frequencies a line sounds all along, and where evenly, booleans of (batch, bins)."""
    there = prominence(waveform, rate) >= _LINE_DB
    even = there & (unevenness(waveform, rate) <= _EVEN_DB)
    near, even_near = (F.max_pool1d(each.float()[:, None], 3, 1, 1)[:, 0] > 0 for each in (there, even))
    return near, even_near


@dataclass(frozen=True, eq=False)
class _Lines(Case):
    lines: Tensor  # (bins,) of the long transform

    def _line_part(self, sounds: Tensor) -> Tensor:
        """Return what stands out of the surroundings in the lines."""
        above = prominence(sounds, self.rate).clamp_min(0)
        cut = (1 - 10 ** (-above / 20)) * self.lines.to(above)
        n = transform_length(self.rate)
        window = torch.hann_window(n, device=sounds.device)
        part = _long_stft(sounds, self.rate) * cut[:, :, None]
        return torch.istft(part, n, n // 4, window=window, length=sounds.shape[1])

    def without(self, sounds: Tensor, others: Tensor) -> Tensor:
        """See `Case.without`: down to the level of the frequencies around them."""
        return sounds - self._line_part(sounds)

    def given(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """See `Case.given`."""
        return sounds + self._line_part(donors)

    def region(self, spectrogram: Spectrogram, sounds: Tensor) -> Tensor:
        """See `Case.region`: the bins that the lines fall in."""
        places = self.lines.nonzero()[:, 0] * self.rate / transform_length(self.rate)
        step = self.rate / 2 / (spectrogram.bins - 1)
        rows = torch.zeros(spectrogram.bins, device=sounds.device)
        rows[(places / step).round().long().clamp_max(spectrogram.bins - 1).to(sounds.device)] = 1
        frames = spectrogram.frames(sounds.shape[1])
        return rows[None, :, None].expand(len(sounds), -1, frames)


class Hum(Suspect):
    """Lines that sound all along, at the same frequencies in most sounds of a class: mains, fans."""

    name = "hum"

    def look(self, own: Tensor, others: Tensor, rate: int) -> Case | None:
        """See `Suspect.look`."""
        if own.shape[1] < 4 * transform_length(rate):
            return None
        (near, even), (near_others, even_others) = (lines_in(sounds, rate) for sounds in (own, others))
        # One that is even is enough: the weaker ones of a hum are not, as they are near the noise.
        if not stands_out(even, even_others, *_EVEN_SHARES).any():
            return None
        lines = stands_out(near, near_others) | stands_out(even, even_others, *_EVEN_SHARES)
        has, have = (values[:, lines].double().mean(1) >= 0.5 for values in (near, near_others))
        level, step = prominence(own, rate).mean(0), rate / transform_length(rate)
        wide = _widened(lines)
        places = _peaks(level.masked_fill(~wide, -torch.inf), wide, step)
        if mains := _mains(places):
            # Its weaker harmonics count as well, though in too few sounds they stand out of the rest.
            wide |= _widened(_harmonics(mains, step, len(level)).to(wide.device))
        return _Lines(_name_lines(places), has, float(have.double().mean()), rate, wide)


def _widened(lines: Tensor) -> Tensor:
    """Return lines, (bins,) of booleans, as wide as the window makes them."""
    return F.max_pool1d(lines.float()[None, None], 2 * _LINE_WIDTH + 1, 1, _LINE_WIDTH)[0, 0] > 0


def _harmonics(mains: float, step: float, bins: int) -> Tensor:
    """Mark the bins of the first harmonics of a mains frequency, (bins,) of booleans.

    >>> _harmonics(50.0, 25.0, 8).tolist()
    [False, False, True, False, True, False, True, False]
    """
    places = (torch.arange(1, _HARMONICS + 1) * mains / step).round().long()
    marked = torch.zeros(bins, dtype=torch.bool)
    marked[places[places < bins]] = True
    return marked


def _mains(places: Sequence[float]) -> float | None:
    """Return of which mains frequency several lines, in Hz, are harmonics, if of one.

    >>> _mains([50.8, 148.4]), _mains([50.8]), _mains([82.0, 164.0])
    (50.0, None, None)
    """
    for mains in _MAINS:
        off = [abs(place / mains - round(place / mains)) * mains for place in places]
        if len(places) > 1 and max(off) <= 5 and min(places) < 5 * mains:
            return mains
    return None


def _peaks(level: Tensor, wide: Tensor, step: float) -> list[float]:
    """Return the highest place of each stretch in Hz."""
    found = []
    for start, end in _stretches(wide):
        found.append((start + int(level[start:end].argmax())) * step)
    return found


def _stretches(inside: Tensor) -> list[tuple[int, int]]:
    """Return where each run of True begins, and ends.

    >>> _stretches(torch.tensor([True, False, True, True]))
    [(0, 1), (2, 4)]
    """
    change = F.pad(inside.int(), (1, 1)).diff().nonzero()[:, 0].tolist()
    return list(zip(change[::2], change[1::2]))


def _name_lines(places: Sequence[float]) -> str:
    """Say which lines.

    >>> _name_lines([50.8, 101.6, 148.4]), _name_lines([1234.4])
    ('mains hum of 50 Hz, at 51, 102, 148 Hz', 'a line at 1234 Hz')
    """
    told = ", ".join(f"{place:.0f}" for place in places[:6]) + (" …" if len(places) > 6 else "")
    if mains := _mains(places):
        return f"mains hum of {mains:.0f} Hz, at {told} Hz"
    return f"lines at {told} Hz" if len(places) > 1 else f"a line at {told} Hz"
