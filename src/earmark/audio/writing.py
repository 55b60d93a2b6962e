"""Write one channel to a sound file, whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from earmark.audio.checks import as_floats, check_numbers, reason
from earmark.errors import AudioError, OutputError
from earmark.files import whole

if TYPE_CHECKING:
    from torch import Tensor

_WAV_HOLDS = 4_000_000_000  # bytes; sizes in its header have 32 bits


_QUIETEST = 0.01  # of full scale; 16 bit leave 300 steps of it


def subtype_for(peaks: Iterable[float]) -> str:
    """Return what the parts of a sound are written as: 16 bit, or float if one is very loud or very quiet.

    Beyond full scale 16 bit would clip, and of what is very quiet they would leave noise or nothing.

    Args:
        peaks: the largest sample of each part; full scale is 1.

    >>> subtype_for([0.5, 0.0]), subtype_for([0.5, 1.2]), subtype_for([0.5, 1e-4])
    ('PCM_16', 'FLOAT', 'FLOAT')
    """
    fits = all(peak == 0 or _QUIETEST <= peak <= 1 for peak in peaks)
    return "PCM_16" if fits else "FLOAT"


def write(
    path: str | Path, waveform: NDArray[Any] | Tensor, sample_rate: int, subtype: str = "PCM_16"
) -> None:
    """Write one channel to a sound file, whole or not at all; the loudness is never changed.

    Args:
        path: where; its ending names the format (.wav, .flac …).
        waveform: floats (samples,), full scale ±1. Integer subtypes clip what lies beyond at ±1 (they cannot
            hold it, and must not wrap around); "FLOAT" and "DOUBLE" keep it.
        sample_rate: in Hz.
        subtype: one of libsndfile's, as "PCM_16", "PCM_24", "FLOAT".

    Raises:
        AudioError: the waveform has another shape, or NaN or infinite samples.
        OutputError: the folder or the disk does not take it, or the format lacks this subtype or rate.
    """
    array = as_floats(waveform)
    if array.ndim != 1:
        raise AudioError(f"waveform to write has shape {array.shape}", "(samples,)", "mix it to one channel")
    check_numbers(array, "waveform to write")
    encoded = _encode(array, sample_rate, Path(path), subtype)
    with whole(path) as temporary:
        temporary.write_bytes(encoded)


def write_blocks(
    path: Path, blocks: Iterable[NDArray[np.float32]], sample_rate: int, samples: int, subtype: str
) -> None:
    """Write one channel in blocks to a WAV file, beyond 4 GB as RF64; it may be left half.

    Args:
        path: where.
        blocks: floats (samples,), which "PCM_16" holds if none is beyond ±1.
        sample_rate: in Hz.
        samples: how many there are in all.
        subtype: one of libsndfile's.

    Raises:
        OutputError: the folder or the disk does not take it.
    """
    size = samples * (2 if subtype == "PCM_16" else 4)
    kind = "RF64" if size > _WAV_HOLDS else "WAV"
    try:
        with soundfile.SoundFile(os.fsencode(path), "w", sample_rate, 1, subtype, format=kind) as file:
            for block in blocks:
                file.write(_rounded(block) if subtype == "PCM_16" else block)
        # libsndfile does not tell of a full disk.
        written = soundfile.info(os.fsencode(path)).frames
    except soundfile.LibsndfileError as error:
        raise OutputError(f"cannot write {path.name}: {reason(error)}", "a writable folder") from error
    if written != samples:
        given = f"cannot write {path.name}: only {written} of {samples} samples fit"
        raise OutputError(given, "a disk with room for it", "free some space, or choose another folder")


def _encode(array: NDArray[Any], sample_rate: int, path: Path, subtype: str) -> bytes:
    if subtype == "PCM_16":
        array = _rounded(array)
    elif subtype not in ("FLOAT", "DOUBLE"):
        array = np.clip(array, -1, 1)
    # In memory first: libsndfile reports a full disk badly or not at all, Python's own writing does it well.
    buffer = io.BytesIO()
    file_format = path.suffix.lstrip(".").upper()
    try:
        soundfile.write(buffer, array, sample_rate, subtype=subtype, format=file_format)
    except (ValueError, TypeError, soundfile.LibsndfileError) as error:
        given = f"cannot write {path} as {subtype} at {sample_rate} Hz: {reason(error)}"
        raise OutputError(given, fix="use the ending .wav") from error
    return buffer.getvalue()


def _rounded(array: NDArray[Any]) -> NDArray[np.int16]:
    """Return the nearest 16-bit steps; libsndfile takes those below, and several times as long."""
    return np.rint(np.clip(array * 32768, -32768, 32767)).astype(np.int16)
