"""What sounds must be, and how messages name them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.errors import AudioError

if TYPE_CHECKING:
    from torch import Tensor

Waveform = NDArray[np.float32]

SHORTEST = 0.05
"""The shortest sound that can be explained, in seconds; below it there are hardly two STFT frames to mask."""

LOUDEST = 1e6
"""The largest sample, of ±1 at full scale; beyond it a spectrogram would overflow before long."""


def check(waveform: Waveform, sample_rate: int, name: str) -> None:
    """Refuse a waveform that cannot be explained, since a mask over nothing means nothing.

    Args:
        waveform: (samples,) as `read` or `to_mono_rate` gives it.
        sample_rate: in Hz.
        name: the file or the argument, for the message.

    Raises:
        AudioError: shorter than 50 ms, or all samples zero.

    >>> check(np.zeros(16000, np.float32), 16000, "rain.wav")
    Traceback (most recent call last):
    earmark.errors.AudioError: rain.wav is silent: all 16000 samples are zero; expected a sound; ...
    """
    if len(waveform) < SHORTEST * sample_rate:
        length = f"{1000 * len(waveform) / sample_rate:.3g} ms"
        given = f"{name} has {len(waveform)} samples at {sample_rate} Hz ({length})"
        raise AudioError(given, f"at least {1000 * SHORTEST:g} ms", "pass a longer piece")
    if not waveform.any():
        raise silent(name, len(waveform))


def silent(name: str, samples: int) -> AudioError:
    """Return what is raised for a sound in which there is nothing to hear."""
    given = f"{name} is silent: all {samples} samples are zero"
    return AudioError(given, "a sound", "check the recording; in stereo, opposite channels cancel")


def named(path: str | os.PathLike[str]) -> str:
    """Return a file's name as text: it may hold bytes that are none, but what is written about it must be."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_file(path: Path) -> None:
    """Raise an `AudioError` in the system's words, as libsndfile only says "System error"."""
    name = named(path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise AudioError(f"{name} is a folder", "a sound file", "name the files in it")
        # Opening a pipe waits for its writer, and nothing that cannot be read twice can be explained.
        if not stat.S_ISREG(kind):
            raise AudioError(f"{name} is not a regular file", "a sound file", "save it as a file first")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise AudioError(f"{name} does not exist", "a sound file", "check the path") from error
    except OSError as error:
        given = f"{name} cannot be opened: {error.strerror or error}"
        raise AudioError(given, "a readable file", "check its permissions") from error
    if empty:
        raise AudioError(f"{name} is empty (0 bytes)", "a sound file", "copy or record it again")


def as_floats(samples: NDArray[Any] | Tensor) -> NDArray[Any]:
    """Return an array of floats, and refuse what is none."""
    if not isinstance(samples, np.ndarray):
        tensor = samples.detach().cpu()
        # NumPy has no bfloat16, which autocast returns.
        samples = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    if not np.issubdtype(samples.dtype, np.floating):
        fix = "divide by its full scale (32768 for int16)"
        raise AudioError(f"waveform is {samples.dtype}", "floats in [-1, 1]", fix)
    return samples


def check_numbers(waveform: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite samples, and such as no recording has."""
    finite = np.isfinite(waveform)
    if not finite.all():
        raise not_finite(name, int((~finite).sum()), int(np.argmin(finite)))
    check_level(waveform, name)


def check_level(waveform: NDArray[Any], name: str) -> None:
    """Refuse samples beyond `LOUDEST`."""
    peak = float(np.abs(waveform).max(initial=0))
    if peak > LOUDEST:
        given = f"{name} has samples as large as {peak:.3g}"
        raise AudioError(given, f"at most {LOUDEST:g}, where full scale is 1", "divide by its full scale")


def not_finite(name: str, count: int, first: int) -> AudioError:
    """Return what is raised for samples that are no numbers."""
    given = f"{name} has {count} NaN or infinite samples, the first at {first}"
    return AudioError(given, "finite numbers", "repair or cut the recording")


def reason(error: Exception) -> str:
    """Leave out libsndfile's prefix, which repeats the path."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").strip().rstrip(".")
