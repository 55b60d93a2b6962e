"""Background noise in WHAM!'s layout, and random pieces of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor

from earmark import audio
from earmark.errors import AudioError, DataError


def read_noise(root: str | Path, split: str, sample_rate: int) -> list[Tensor]:
    """Read every noise of a split as `read_noise_named` does, without their names.

    Args:
        root: the folder that holds the splits.
        split: its folder of WAV files: "tr", "cv" or "tt" in WHAM!.
        sample_rate: in Hz; the files may have any rate and number of channels.

    Returns:
        float32 (samples,) each, of differing lengths, in the order of the file names.

    Raises:
        DataError: no such folder, no WAV file in it, or one that cannot be read.
    """
    return list(read_noise_named(root, split, sample_rate).values())


def read_noise_named(root: str | Path, split: str, sample_rate: int) -> dict[str, Tensor]:
    """Read every noise of a split into memory, as one channel each.

    Args:
        root: the folder that holds the splits.
        split: its folder of WAV files: "tr", "cv" or "tt" in WHAM!.
        sample_rate: in Hz; the files may have any rate and number of channels.

    Returns:
        per file name without its ending, in their order: float32 (samples,), of differing lengths.

    Raises:
        DataError: no such folder, no WAV file in it, or one that cannot be read.

    Source: Wichern et al., WHAM!: Extending Speech Separation to Noisy Environments, Interspeech 2019.
    """
    folder = Path(root) / split
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        what = "has no .wav file" if folder.is_dir() else "does not exist"
        fix = "check root and split; WHAM! (Wichern et al., Interspeech 2019) is at wham.whisper.ai"
        raise DataError(f"{folder} {what}", "WHAM!'s layout: tr, cv and tt with WAV files", fix)
    return {path.stem: read_interferer(path, sample_rate) for path in paths}


def read_interferer(path: Path, sample_rate: int) -> Tensor:
    """Read one recording that is to be mixed with others, as one channel.

    Args:
        path: any file that libsndfile reads.
        sample_rate: in Hz; the file may have any rate and number of channels.

    Returns:
        float32 (samples,), at least one.

    Raises:
        DataError: the file cannot be read, or is so short that no sample is left at the rate.
    """
    try:
        waveform, _ = audio.decode(path, sample_rate)
    except AudioError as error:
        raise DataError(f"what is to be mixed in cannot be used: {error}") from error
    if not len(waveform):
        raise DataError(f"{path} has no sample left at {sample_rate} Hz", "a sound", "remove the file")
    return torch.from_numpy(waveform)


def random_noise(noises: Sequence[Tensor], batch: int, samples: int, generator: Generator) -> Tensor:
    """Draw random pieces: a noise, each as likely as any other, then where in it; a short one is looped.

    Args:
        noises: (any length,) each.
        batch: how many pieces.
        samples: the length of a piece.
        generator: a CPU generator; the same state gives the same pieces.

    Returns:
        (batch, samples).

    Raises:
        DataError: there is no noise to draw from.
    """
    if not noises:
        raise DataError("there is no noise to draw from", "at least one", "read a split with read_noise")
    chosen = [noises[_integer(len(noises), generator)] for _ in range(batch)]
    return torch.stack([_piece(noise, samples, generator) for noise in chosen])


def _piece(noise: Tensor, samples: int, generator: Generator) -> Tensor:
    length = len(noise)
    if length >= samples:
        start = _integer(length - samples + 1, generator)
        return noise[start : start + samples]
    start = _integer(length, generator)
    return noise.repeat(math.ceil((start + samples) / length))[start : start + samples]


def _integer(below: int, generator: Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
