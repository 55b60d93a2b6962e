"""Read any sound file as one channel at the wanted rate, check it, and write one whole or not at all."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earmark.errors import AudioError, OutputError
from earmark.files import whole

if TYPE_CHECKING:
    from torch import Tensor

Waveform = NDArray[np.float32]

SHORTEST = 0.05
"""The shortest sound that can be explained, in seconds; below it there are hardly two STFT frames to mask."""

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
_WAV_HOLDS = 4_000_000_000  # bytes; sizes in its header have 32 bits
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
        AudioError: no such file, not sound, truncated, NaN or infinite, silent, or shorter than 50 ms.
    """
    waveform, rate = decode(path, sample_rate)
    check(waveform, rate, str(path))
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
        AudioError: no such file, not sound, without samples, truncated, NaN or infinite.
    """
    path = Path(path)
    with _opened(path) as file:
        blocks, rate = list(_mono_blocks(file, path)), int(file.samplerate)
    waveform = np.concatenate(blocks)
    _check_numbers(waveform, str(path))
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
            _numbers(_mono_blocks(file, path), str(path)), int(file.samplerate), sample_rate
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
        AudioError: not floats, another shape, no samples, NaN or infinite, or a rate that is not positive.

    >>> to_mono_rate(np.array([[0.0, 1.0, 0.5], [1.0, 1.0, 0.0]]), 8000)
    array([0.5 , 1.  , 0.25], dtype=float32)
    """
    array = _as_floats(samples)
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
    _check_numbers(waveform, "waveform")
    return _resample(waveform, rate, sample_rate)


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
    array = _as_floats(waveform)
    if array.ndim != 1:
        raise AudioError(f"waveform to write has shape {array.shape}", "(samples,)", "mix it to one channel")
    _check_numbers(array, "waveform to write")
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
        with soundfile.SoundFile(path, "w", sample_rate, 1, subtype, format=kind) as file:
            for block in blocks:
                file.write(block)
        # libsndfile does not tell of a full disk.
        written = soundfile.info(path).frames
    except soundfile.LibsndfileError as error:
        raise OutputError(f"cannot write {path.name}: {_reason(error)}", "a writable folder") from error
    if written != samples:
        given = f"cannot write {path.name}: only {written} of {samples} samples fit"
        raise OutputError(given, "a disk with room for it", "free some space, or choose another folder")


def _encode(array: NDArray[Any], sample_rate: int, path: Path, subtype: str) -> bytes:
    if subtype not in ("FLOAT", "DOUBLE"):
        array = np.clip(array, -1, 1)
    # In memory first: libsndfile reports a full disk badly or not at all, Python's own writing does it well.
    buffer = io.BytesIO()
    file_format = path.suffix.lstrip(".").upper()
    try:
        soundfile.write(buffer, array, sample_rate, subtype=subtype, format=file_format)
    except (ValueError, TypeError, soundfile.LibsndfileError) as error:
        given = f"cannot write {path} as {subtype} at {sample_rate} Hz: {_reason(error)}"
        raise OutputError(given, fix="use the ending .wav") from error
    return buffer.getvalue()


def check_file(path: Path) -> None:
    """Raise an `AudioError` in the system's words, as libsndfile only says "System error"."""
    if path.is_dir():
        raise AudioError(f"{path} is a folder", "a sound file", "name the files in it")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist", "a sound file", "check the path") from error
    except OSError as error:
        reason = error.strerror or str(error)
        given = f"{path} cannot be opened: {reason}"
        raise AudioError(given, "a readable file", "check its permissions") from error
    if empty:
        raise AudioError(f"{path} is empty (0 bytes)", "a sound file", "copy or record it again")


class _Stream(soundfile.SoundFile):
    """Reads forward only: soundfile seeks after each read, which fails where the header gives no length."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    check_file(path)
    try:
        with _Stream(path) as file:
            yield file
    except soundfile.LibsndfileError as error:
        fix = "convert it to WAV or FLAC, or copy it again if it is damaged"
        raise AudioError(f"{path} cannot be read: {_reason(error)}", "a sound file", fix) from error


def _mono_blocks(file: _Stream, path: Path) -> Iterator[Waveform]:
    """Decode a whole file, and see at its end whether it was one."""
    found = 0
    try:
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            yield block.mean(axis=1)
            found += len(block)
    except soundfile.LibsndfileError as error:
        length = f" of {file.frames}" if file.frames < _LENGTH_UNKNOWN else ""
        given = f"{path} is truncated or damaged after about {found}{length} frames: {_reason(error)}"
        raise AudioError(given, "a whole file", _COPY_AGAIN) from error
    _check_whole(file, path, found)
    if not found:
        raise AudioError(f"{path} holds no samples", "a sound file", "copy or record it again")


def _check_whole(file: _Stream, path: Path, found: int) -> None:
    """Raise if a fully read file was cut off, which libsndfile often reads as if it were merely shorter.

    WAV and its kin, AIFF, AU: the header promises more bytes. FLAC, MP3 with a length tag: more frames. Ogg:
    the last page does not say that it is the last. An MP3 without the tag cannot tell.
    """
    expected = _expected_frames(file, found)
    if expected > found:
        given = f"{path} is truncated: {found} of about {expected} frames are there"
        raise AudioError(given, "a whole file", _COPY_AGAIN)
    if file.format == "OGG" and not _ogg_ends(path):
        given = f"{path} is truncated: after {found} frames the Ogg stream has no last page"
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
                yield block
            else:
                first = done + int(np.argmin(finite))
        bad += int((~finite).sum())
        done += len(block)
    if bad:
        raise _not_finite(name, bad, first)


def _as_floats(samples: NDArray[Any] | Tensor) -> NDArray[Any]:
    if not isinstance(samples, np.ndarray):
        tensor = samples.detach().cpu()
        # NumPy has no bfloat16, which autocast returns.
        samples = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    if not np.issubdtype(samples.dtype, np.floating):
        fix = "divide by its full scale (32768 for int16)"
        raise AudioError(f"waveform is {samples.dtype}", "floats in [-1, 1]", fix)
    return samples


def _check_numbers(waveform: NDArray[Any], name: str) -> None:
    finite = np.isfinite(waveform)
    if not finite.all():
        raise _not_finite(name, int((~finite).sum()), int(np.argmin(finite)))


def _not_finite(name: str, count: int, first: int) -> AudioError:
    given = f"{name} has {count} NaN or infinite samples, the first at {first}"
    return AudioError(given, "finite numbers", "repair or cut the recording")


def _reason(error: Exception) -> str:
    """Leave out libsndfile's prefix, which repeats the path."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").strip().rstrip(".")
