"""Sounds as loud as one another, so that nobody prefers the louder one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from earmark.audio import Waveform

CEILING = 0.98
"""No sample of any stimulus is beyond this share of full scale."""

MOST_GAIN = 30.0
"""dB; what is so much softer than the sound is all but silence, and stays soft."""

_BLOCK = 0.4  # seconds; the standard's gating block
_CUTOFF = 3500.0  # Hz; the low anchor of ITU-R BS.1534


def loudness(waveform: Waveform, rate: int) -> float:
    """Return the integrated loudness in LUFS (ITU-R BS.1770); -inf for silence.

    What is gated out does not count, so that a few clicks are as loud as they sound, and not as their
    mean over a silent clip.

    Args:
        waveform: (samples,).
        rate: in Hz.

    >>> tone = np.sin(2 * np.pi * 997 * np.arange(48000) / 48000).astype(np.float32)
    >>> abs(loudness(tone, 48000) - -3.01) < 0.1
    True
    """
    import pyloudnorm

    least = round(_BLOCK * rate) + 1
    padded = np.pad(waveform, (0, max(0, least - len(waveform))))
    with np.errstate(divide="ignore"):
        return float(pyloudnorm.Meter(rate, block_size=_BLOCK).integrated_loudness(padded))


def match_levels(
    reference: Waveform, parts: Mapping[str, Waveform], rate: int
) -> tuple[Waveform, dict[str, Waveform], dict[str, float]]:
    """Make parts of a sound as loud as the sound.

    Where a part would clip, all of them and the sound become softer together.

    Args:
        reference: (samples,); the whole sound.
        parts: each (samples,); silence stays silence.
        rate: in Hz.

    Returns:
        the sound, the parts, and by how many dB each part's level was changed beside the sound's.
    """
    # The standard's gate takes for silence what is below -70 LUFS; a quiet recording is none.
    scale_up = np.float32(1 / max(float(np.abs(reference).max(initial=0)), 1e-9))
    target = loudness(reference * scale_up, rate)
    gains = {name: _gain(target, loudness(part * scale_up, rate)) for name, part in parts.items()}
    louder = {name: part * np.float32(10 ** (gains[name] / 20)) for name, part in parts.items()}
    peak = max(float(np.abs(one).max(initial=0)) for one in (reference, *louder.values()))
    scale = np.float32(min(1.0, CEILING / max(peak, 1e-9)))
    return reference * scale, {name: part * scale for name, part in louder.items()}, gains


def _gain(target: float, level: float) -> float:
    if not (np.isfinite(target) and np.isfinite(level)):
        return 0.0
    return min(MOST_GAIN, target - level)


def lowpass(waveform: Waveform, rate: int) -> Waveform:
    """Return the low anchor of ITU-R BS.1534: the sound below 3.5 kHz.

    Args:
        waveform: (samples,).
        rate: in Hz.
    """
    from scipy.signal import butter, sosfiltfilt

    if rate <= 2 * _CUTOFF:
        return waveform
    return np.asarray(sosfiltfilt(butter(8, _CUTOFF, fs=rate, output="sos"), waveform), dtype=np.float32)
