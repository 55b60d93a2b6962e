"""Read any sound file as one channel at the wanted rate, at once or in blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earmark.audio.checks import (
    Waveform,
    as_floats,
    check,
    check_file,
    check_level,
    check_numbers,
    named,
    not_finite,
    reason,
)
from earmark.errors import AudioError

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 16384  # frames; small, so that many channels cost little memory and a decode error is placed well
_COPY_AGAIN = "copy or download it again, or re-encode it to keep what is left"

# libsndfile notes in its log where a header promises more bytes than the file has: WAV "data : 128000 (should
# be 63978)", AIFF " SSND : …", AU "  Data Size   : …", RF64 "  Riff size : …", W64 "riff : …".
_PROMISE = re.compile(
    r"^\s*(?:data|SSND|Data Size|Riff size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_HEADER_SLACK = 64  # bytes; some writers count their header in
_STREAMED = 0x7FFFF000  # bits set in the bytes that writers to a pipe promise, as they cannot come back
_MP3_SLACK = 2304  # frames; two MP3 frames, as encoders differ in what they count
_LENGTH_UNKNOWN = (
    1 << 62
)  # frames; libsndfile says the largest 64-bit number where FLAC's header says nothing
_OGG_PAGE = 65307  # bytes; the largest page


def read(path: str | Path, sample_rate: int | None = None) -> tuple[Waveform, int]:
    """Read a sound file to explain: decode, mix to mono, resample, and check that there is something to hear.

    Args:
        path: any file that libsndfile reads (WAV, FLAC, Ogg, MP3, AIFF and more), any number of channels.
        sample_rate: the wanted rate in Hz; None keeps the file's.

    Returns:
        waveform: float32 (samples,), the mean of the channels; full scale is ±1.
        sample_rate: in Hz.

    Raises:
        AudioError: no such file, not sound, truncated, NaN, infinite or beyond 1e6, silent, or shorter
            than 50 ms.
    """
    waveform, rate = decode(path, sample_rate)
    check(waveform, rate, named(path))
    return waveform, rate


def decode(path: str | Path, sample_rate: int | None = None) -> tuple[Waveform, int]:
    """Read a sound file as `read` does, but let silence and very short sounds pass, as data sets hold both.

    Args:
        path: any file that libsndfile reads, any number of channels.
        sample_rate: the wanted rate in Hz; None keeps the file's.

    Returns:
        waveform: float32 (samples,), the mean of the channels; full scale is ±1.
        sample_rate: in Hz.

    Raises:
        AudioError: no such file, not sound, without samples, truncated, NaN, infinite or beyond 1e6.
    """
    path = Path(path)
    with _opened(path) as file:
        blocks, rate = list(_mono_blocks(file, path)), int(file.samplerate)
    waveform = np.concatenate(blocks)
    check_numbers(waveform, named(path))
    return _resample(waveform, rate, sample_rate), sample_rate or rate


def stream(path: str | Path, sample_rate: int) -> Iterator[Waveform]:
    """Read a sound file as `decode` does, block by block, hours in the memory of seconds.

    Args:
        path: any file that libsndfile reads, any number of channels.
        sample_rate: the wanted rate in Hz.

    Returns:
        blocks of float32 (samples,), each about a second or less, which together are what `decode` returns.

    Raises:
        AudioError: as `decode`. What a header or the file's end gives away is told before the first block,
            all else where it is met.
    """
    path = Path(path)
    with _opened(path) as file:
        if file.frames < _LENGTH_UNKNOWN:
            _check_whole(file, path, int(file.frames))
        yield from _resampled(
            _numbers(_mono_blocks(file, path), named(path)), int(file.samplerate), sample_rate
        )


def duration(path: str | Path) -> float | None:
    """Return how many seconds a file's header promises; None where it does not say.

    Raises:
        AudioError: no such file, or not sound.
    """
    with _opened(Path(path)) as file:
        return file.frames / file.samplerate if file.frames < _LENGTH_UNKNOWN else None


def to_mono_rate(samples: NDArray[Any] | Tensor, rate: int, sample_rate: int | None = None) -> Waveform:
    """Bring an array to what `read` returns: float32, one channel, the wanted rate.

    Args:
        samples: floats, (samples,) or (channels, samples); a NumPy array or a torch tensor on any device.
        rate: the array's rate in Hz.
        sample_rate: the wanted rate in Hz; None keeps the array's.

    Returns:
        float32 (samples,), the mean of the channels.

    Raises:
        AudioError: not floats, another shape, no samples, NaN, infinite or beyond 1e6, or a rate that is not
            positive.

    >>> to_mono_rate(np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.0]]), 8000)
    array([0.5 , 1.  , 0.25], dtype=float32)
    """
    array = as_floats(samples)
    if array.ndim not in (1, 2) or array.size == 0:
        raise AudioError(f"waveform has shape {array.shape}", "(samples,) or (channels, samples)")
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        fix = "transpose it: channels come first"
        raise AudioError(f"waveform has shape {array.shape}", "(channels, samples)", fix)
    for value in (rate, rate if sample_rate is None else sample_rate):
        if not value > 0:
            raise AudioError(f"sample rate is {value} Hz", "a positive rate", "pass the waveform's own rate")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        array = array.astype(np.float32)
    waveform: Waveform = array if array.ndim == 1 else array.mean(axis=0)
    check_numbers(waveform, "waveform")
    return _resample(waveform, rate, sample_rate)


class _Stream(soundfile.SoundFile):
    """Reads forward only: soundfile seeks after each read, which fails where the header gives no length."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    check_file(path)
    try:
        # As bytes, as a name may hold some that are no text.
        file = _Stream(os.fsencode(path))
    # The TypeError is of a name that ends in .raw, whose rate nobody has said.
    except (soundfile.LibsndfileError, TypeError) as error:
        fix = "convert it to WAV or FLAC, or copy it again if it is damaged"
        raise AudioError(f"{named(path)} cannot be read: {reason(error)}", "a sound file", fix) from error
    with file:
        yield file


def _mono_blocks(file: _Stream, path: Path) -> Iterator[Waveform]:
    """Decode a whole file, and see at its end whether it was one."""
    found = 0
    try:
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block.mean(axis=1)
            found += len(block)
    except soundfile.LibsndfileError as error:
        length = f" of {file.frames}" if file.frames < _LENGTH_UNKNOWN else ""
        given = f"{named(path)} is truncated or damaged after about {found}{length} frames: {reason(error)}"
        raise AudioError(given, "a whole file", _COPY_AGAIN) from error
    _check_whole(file, path, found)
    if not found:
        raise AudioError(f"{named(path)} holds no samples", "a sound file", "copy or record it again")


def _check_whole(file: _Stream, path: Path, found: int) -> None:
    """Raise if a fully read file was cut off, which libsndfile often reads as if it were merely shorter.

    WAV and its kin, AIFF, AU: the header promises more bytes. FLAC, MP3 with a length tag: more frames. Ogg:
    the last page does not say that it is the last. An MP3 without the tag cannot tell.
    """
    expected = _expected_frames(file, found)
    if expected > found:
        given = f"{named(path)} is truncated: {found} of about {expected} frames are there"
        raise AudioError(given, "a whole file", _COPY_AGAIN)
    if file.format == "OGG" and not _ogg_ends(path):
        given = f"{named(path)} is truncated: after {found} frames the Ogg stream has no last page"
        raise AudioError(given, "a whole file", _COPY_AGAIN)


def _expected_frames(file: _Stream, found: int) -> int:
    if promise := _PROMISE.search(file.extra_info):
        promised, there = int(promise[1]), int(promise[2])
        whole_enough = promised & _STREAMED == _STREAMED or promised - there <= _HEADER_SLACK
        return found if whole_enough else round(found * promised / max(there, 1))
    slack = _MP3_SLACK if file.format == "MP3" else 0
    return int(file.frames) if found + slack < file.frames < _LENGTH_UNKNOWN else found


def _ogg_ends(path: Path) -> bool:
    """Whether the file's tail holds a complete page with the end-of-stream flag (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * _OGG_PAGE))
        tail = file.read()
    return any(_is_last_page(tail[match.start() :]) for match in re.finditer(b"OggS", tail))


def _is_last_page(page: bytes) -> bool:
    header = 27
    if len(page) < header or not page[5] & 4:
        return False
    segments = page[header : header + page[26]]
    return len(page) >= header + page[26] + sum(segments)


def _resample(waveform: Waveform, rate: int, sample_rate: int | None) -> Waveform:
    if sample_rate is None or sample_rate == rate:
        return waveform
    resampled: Waveform = soxr.resample(waveform, rate, sample_rate, quality="HQ")
    return resampled


def _resampled(blocks: Iterable[Waveform], rate: int, sample_rate: int) -> Iterator[Waveform]:
    if rate == sample_rate:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _numbers(blocks: Iterable[Waveform], name: str) -> Iterator[Waveform]:
    """Pass blocks on until one has NaN or infinite samples; then count them all, and tell."""
    bad = first = done = 0
    for block in blocks:
        finite = np.isfinite(block)
        if not bad:
            if finite.all():
                check_level(block, name)
                yield block
            else:
                first = done + int(np.argmin(finite))
        bad += int((~finite).sum())
        done += len(block)
    if bad:
        raise not_finite(name, bad, first)
