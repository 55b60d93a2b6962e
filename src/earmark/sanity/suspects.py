"""What is looked for: where it is in sounds, sounds without it, and others with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earmark.features.spectrogram import Spectrogram
from earmark.sanity.constant_lines import Hum
from earmark.sanity.cues import low_pass
from earmark.sanity.suspect import FAINT, Case, Suspect, rms, stands_out, transform_length

# --- band edges -------------------------------------------------------------------------------------------

# Within some hundred Hz, and for all that is above: sounds of nature rarely fall off like that, but for those
# that are a rumble and little else. Chosen on the development seeds of bench/audit.py.
_DROP_DB, _LOWEST_HZ = 15.0, 500.0
_BESIDE_HZ = (40.0, 160.0)
_AGREE_HZ = 120.0


def edge_drop(waveform: Tensor, rate: int) -> Tensor:
    """Return by how much a sound falls off at each frequency and stays below, (batch, bins) in dB.

    Args:
        waveform: (batch, samples).
        rate: in Hz; bins are those of a transform of an eighth of a second.
    """
    n = transform_length(rate) // 2
    window = torch.hann_window(n, device=waveform.device)
    power = torch.stft(waveform, n, n // 2, window=window, return_complex=True).abs().square().mean(2)
    level = 10 * (power / power.amax(1, keepdim=True).clamp_min(1e-20) + 1e-12).log10()
    near, far = (max(1, round(hz / rate * n)) for hz in _BESIDE_HZ)
    span = far - near
    mean = F.avg_pool1d(level[:, None], span, 1)[:, 0]  # mean[k]: over k … k + span - 1
    highest = level.flip(1).cummax(1).values.flip(1)  # of all from k on
    drop = torch.full_like(level, -torch.inf)
    lowest = max(far, round(_LOWEST_HZ / rate * n))
    places = torch.arange(lowest, level.shape[1] - far, device=level.device)
    # A codec leaves noise and music up to its edge; beside a lone tone there is nothing on either side.
    below = level.unfold(1, span, 1).median(-1).values[:, places - far]
    drop[:, places] = torch.minimum(below - mean[:, places + near], below - highest[:, places + near] + 10)
    return drop


@dataclass(frozen=True, eq=False)
class _Edge(Case):
    intrudes = True
    edge: float  # Hz
    limited: bool  # whether the class lacks what is above, or others do

    def _above(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """Return what donors have above the edge, as loud against what they have below it as they do."""
        below, of_donors = (low_pass(each, self.edge / self.rate) for each in (sounds, donors))
        ratio = rms(below) / rms(of_donors).clamp_min(1e-9)
        return below + (donors - of_donors) * ratio

    def without(self, sounds: Tensor, others: Tensor) -> Tensor:
        """See `Case.without`."""
        return self._above(sounds, others) if self.limited else low_pass(sounds, self.edge / self.rate)

    def given(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """See `Case.given`."""
        return low_pass(sounds, self.edge / self.rate) if self.limited else self._above(sounds, donors)

    def region(self, spectrogram: Spectrogram, sounds: Tensor) -> Tensor:
        """See `Case.region`: all above the edge."""
        above = (spectrogram.frequencies() >= self.edge).float().to(sounds.device)
        return above[None, :, None].expand(len(sounds), -1, spectrogram.frames(sounds.shape[1]))


class BandEdge(Suspect):
    """A frequency above which the sounds of a class have nothing, and others do; or the other way round."""

    name = "band edge"

    def look(self, own: Tensor, others: Tensor, rate: int) -> Case | None:
        """See `Suspect.look`."""
        if own.shape[1] < 2 * transform_length(rate):
            return None
        step = 2 * rate / transform_length(rate)
        width = 2 * round(_AGREE_HZ / step) + 1
        drops = [edge_drop(sounds, rate) for sounds in (own, others)]
        near = [F.max_pool1d(drop[:, None], width, 1, width // 2)[:, 0] >= _DROP_DB for drop in drops]
        for limited, (some, rest) in ((True, near), (False, near[::-1])):
            places = stands_out(some, rest)
            if places.any():
                mean = drops[0 if limited else 1].clamp(0, 60).mean(0).masked_fill(~places, -1)
                # Around an edge the drop is about as large everywhere: it lies in the middle of that.
                place = int((mean >= 0.9 * mean.max()).nonzero().median())
                has = near[0][:, place] if limited else ~near[0][:, place]
                have = near[1][:, place] if limited else ~near[1][:, place]
                what = "nothing" if limited else "what others lack"
                where = f"{what} above {place * step:.0f} Hz"
                return _Edge(where, has, float(have.double().mean()), rate, place * step, limited)
        return None


# --- silence ----------------------------------------------------------------------------------------------

_SHORTEST_S = 0.05


def silent_parts(waveform: Tensor, rate: int) -> Tensor:
    """Return which samples lie in silence of 50 ms or more, (batch, samples) of booleans."""
    quiet = waveform.abs() <= FAINT * waveform.abs().amax(1, keepdim=True)
    length = round(_SHORTEST_S * rate)
    runs = F.avg_pool1d(F.pad(quiet.float(), (length, length))[:, None], length, 1)[:, 0] >= 1 - 1e-6
    samples = waveform.shape[1]
    return F.max_pool1d(runs.float()[:, None], length, 1)[:, 0, 1 : samples + 1] > 0


@dataclass(frozen=True, eq=False)
class _Silence(Case):
    def without(self, sounds: Tensor, others: Tensor) -> Tensor:
        """See `Case.without`: the sound goes on, backwards and forwards, instead of stopping."""
        return torch.stack([_going_on(*one) for one in zip(sounds, silent_parts(sounds, self.rate))])

    def given(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """See `Case.given`: silent where the donor is."""
        return sounds * ~silent_parts(donors, self.rate)

    def region(self, spectrogram: Spectrogram, sounds: Tensor) -> Tensor:
        """See `Case.region`: the frames in the middle of which it is silent."""
        hop, frames = spectrogram.config.hop_length, spectrogram.frames(sounds.shape[1])
        centres = (torch.arange(frames, device=sounds.device) * hop).clamp_max(sounds.shape[1] - 1)
        silent = silent_parts(sounds, self.rate)[:, centres].float()
        return silent[:, None, :].expand(-1, spectrogram.bins, -1)


def _going_on(sound: Tensor, silent: Tensor) -> Tensor:
    heard = sound[~silent]
    if not len(heard) or not silent.any():
        return sound
    filled, swing = sound.clone(), torch.cat([heard.flip(0), heard])
    count = int(silent.sum())
    filled[silent] = swing.repeat(-(-count // len(swing)))[:count]
    return filled


class Silence(Suspect):
    """Digital silence, such as padding, in most sounds of a class."""

    name = "silence"

    def look(self, own: Tensor, others: Tensor, rate: int) -> Case | None:
        """See `Suspect.look`."""
        silent = [silent_parts(sounds, rate) for sounds in (own, others)]
        has, have = (part.any(1) for part in silent)
        if not stands_out(has[:, None], have[:, None]).any():
            return None
        share = silent[0][has].double().mean()
        where = f"digital silence, {100 * float(share):.0f} % of these clips"
        return _Silence(where, has, float(have.double().mean()), rate)


# --- the ends of clips ------------------------------------------------------------------------------------

_END_S = 0.08


@dataclass(frozen=True, eq=False)
class _End(Case):
    first: bool

    def _part(self, sounds: Tensor) -> slice:
        length = round(_END_S * self.rate)
        return slice(0, length) if self.first else slice(sounds.shape[1] - length, sounds.shape[1])

    def without(self, sounds: Tensor, others: Tensor) -> Tensor:
        """See `Case.without`: what is next to it comes in its place, mirrored."""
        length, changed = round(_END_S * self.rate), sounds.clone()
        beside = slice(length, 2 * length) if self.first else slice(-2 * length, -length)
        changed[:, self._part(sounds)] = sounds[:, beside].flip(1)
        return changed

    def given(self, sounds: Tensor, donors: Tensor) -> Tensor:
        """See `Case.given`."""
        changed, part = sounds.clone(), self._part(sounds)
        changed[:, part] = donors[:, part]
        return changed

    def sham(self, sounds: Tensor, donors: Tensor) -> Tensor | None:
        """See `Case.sham`: as much from the middle of the donor, in the same place."""
        length, middle = round(_END_S * self.rate), sounds.shape[1] // 2
        changed = sounds.clone()
        changed[:, self._part(sounds)] = donors[:, middle : middle + length]
        return changed

    def region(self, spectrogram: Spectrogram, sounds: Tensor) -> Tensor:
        """See `Case.region`."""
        frames = spectrogram.frames(sounds.shape[1])
        count = -(-round(_END_S * self.rate) // spectrogram.config.hop_length)
        inside = torch.zeros(frames, device=sounds.device)
        inside[slice(0, count) if self.first else slice(frames - count, frames)] = 1
        return inside[None, None, :].expand(len(sounds), spectrogram.bins, -1)


class ClipStart(Suspect):
    """The first 80 ms: a click as the recorder is switched on, a cut."""

    name = "clip start"
    first = True

    def look(self, own: Tensor, others: Tensor, rate: int) -> Case | None:
        """See `Suspect.look`: every sound has one."""
        if own.shape[1] < 4 * round(_END_S * rate):
            return None
        where = f"the {'first' if self.first else 'last'} {1000 * _END_S:.0f} ms"
        return _End(where, torch.ones(len(own), dtype=torch.bool), float("nan"), rate, self.first)


class ClipEnd(ClipStart):
    """The last 80 ms."""

    name = "clip end"
    first = False


SUSPECTS: tuple[Suspect, ...] = (Hum(), BandEdge(), Silence(), ClipStart(), ClipEnd())
"""All that is looked for. A steady noise without lines is not: it cannot be told from rain or surf."""
