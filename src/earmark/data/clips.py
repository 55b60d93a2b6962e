"""Labelled clips, and all of them in memory as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from earmark import audio
from earmark.errors import AudioError, DataError
from earmark.features.level import peak_normalise


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled sound file; `fold` is its part of a cross-validation, None where the set has none."""

    path: Path
    label: str
    fold: int | None = None


def load_all(
    clips: Sequence[Clip], labels: Sequence[str], sample_rate: int, seconds: float, threads: int = 2
) -> tuple[Tensor, Tensor]:
    """Decode every clip once, cut or zero-padded at its end to one length, peak-normalised.

    Args:
        clips: what to load; a silent clip is allowed and stays zero.
        labels: the classes; a label's place is its class index.
        sample_rate: in Hz.
        seconds: the length of every clip.
        threads: how many files to decode at once.

    Returns:
        waveforms: float32 (clips, samples) with max |x| = 1 in each.
        targets: int64 (clips,).

    Raises:
        DataError: a clip's label is not one of `labels`, or its file cannot be read.
    """
    targets = torch.tensor([_class_index(clip, labels) for clip in clips], dtype=torch.int64)
    waveforms = torch.zeros(len(clips), round(seconds * sample_rate))
    with ThreadPoolExecutor(threads) as pool:
        for row, waveform in zip(
            waveforms, pool.map(lambda clip: _load(clip, sample_rate), clips), strict=True
        ):
            kept = waveform[: len(row)]
            row[: len(kept)] = kept
            row.copy_(peak_normalise(row))
    return waveforms, targets


def _class_index(clip: Clip, labels: Sequence[str]) -> int:
    try:
        return labels.index(clip.label)
    except ValueError as error:
        given = f"{clip.path} has the label {clip.label!r}"
        raise DataError(
            given, f"one of {', '.join(labels)}", "add the label or leave the clip out"
        ) from error


def _load(clip: Clip, sample_rate: int) -> Tensor:
    try:
        return torch.from_numpy(audio.decode(clip.path, sample_rate)[0])
    except AudioError as error:
        raise DataError(f"a clip labelled {clip.label!r} cannot be used: {error}") from error
