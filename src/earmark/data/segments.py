"""Random pieces of recordings, in memory or read from their files piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import torch
from torch import Generator, Tensor

from earmark import audio
from earmark.errors import AudioError

_FEW = 5000  # files


class Recordings(Protocol):
    """Recordings of which pieces are taken."""

    def __len__(self) -> int:
        """How many there are."""

    def piece(self, index: int, samples: int, generator: Generator) -> Tensor:
        """Return a piece of so many samples of a recording, (samples,); a shorter one is repeated."""


@dataclass(frozen=True)
class InMemory:
    """Recordings in memory, each (samples,)."""

    waveforms: Sequence[Tensor]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.waveforms)

    def piece(self, index: int, samples: int, generator: Generator) -> Tensor:
        """See `Recordings.piece`."""
        return random_piece(self.waveforms[index], samples, generator)


@dataclass(frozen=True)
class OnDisk:
    """Recordings on disk, of which no more is read than is wanted.

    Args:
        paths: of files that libsndfile reads.
        sample_rate: in Hz, of what comes back.
    """

    paths: Sequence[Path]
    sample_rate: int

    def __len__(self) -> int:
        """How many there are."""
        return len(self.paths)

    def piece(self, index: int, samples: int, generator: Generator) -> Tensor:
        """See `Recordings.piece`; raises `AudioError` for a file that cannot be read."""
        path = self.paths[index]
        try:
            with soundfile.SoundFile(path) as file:
                wanted = -(-samples * file.samplerate // self.sample_rate)
                latest = max(0, file.frames - wanted)
                file.seek(int(torch.randint(latest + 1, (1,), generator=generator)))
                found = file.read(wanted, dtype="float32", always_2d=True)
                rate = file.samplerate
        except (OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
            raise AudioError(f"{path} cannot be read: {error}", "a sound file", "remove it") from error
        return repeated(torch.from_numpy(audio.to_mono_rate(found.mean(1), rate, self.sample_rate)), samples)


def recordings_of(paths: Sequence[Path], sample_rate: int, most: float = 1e9) -> Recordings:
    """Return recordings in memory where they are few, and on disk where they are many.

    Args:
        paths: of sound files.
        sample_rate: in Hz, of what comes back.
        most: bytes of memory that they may take.

    Raises:
        AudioError: one of few cannot be read.
    """
    # Looking at the headers of many takes as long as it takes to know that they are many.
    if len(paths) > _FEW or sum(audio.duration(path) or 0 for path in paths) * sample_rate * 4 > most:
        return OnDisk(paths, sample_rate)
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda path: audio.decode(path, sample_rate)[0], paths)
        return InMemory([torch.from_numpy(waveform) for waveform in found])


def random_piece(waveform: Tensor, samples: int, generator: Generator) -> Tensor:
    """Return a piece of (all,) from anywhere in it, (samples,); what is shorter is repeated.

    >>> random_piece(torch.arange(3.0), 5, Generator())
    tensor([0., 1., 2., 0., 1.])
    """
    latest = max(0, len(waveform) - samples)
    start = int(torch.randint(latest + 1, (1,), generator=generator))
    return repeated(waveform[start : start + samples], samples)


def repeated(waveform: Tensor, samples: int) -> Tensor:
    """Return (samples,) of what may be a little shorter or longer."""
    if not len(waveform):
        return torch.zeros(samples)
    return waveform.repeat(-(-samples // len(waveform)))[:samples]


def decoded(content: bytes, rate: int) -> Tensor:
    """Decode a sound file in memory, (samples,).

    Raises:
        AudioError: it is none.
    """
    import io

    try:
        found, own = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise AudioError(f"a sound in a shard cannot be read: {error}", "a sound file") from error
    return torch.from_numpy(np.ascontiguousarray(audio.to_mono_rate(found.mean(1), own, rate)))
