"""Labelled clips, a choice of them, and all of them in memory as one tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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
    """One labelled sound file.

    Args:
        path: the file.
        label: its class.
        fold: its part of a cross-validation; None where the set has none.
        name: what it is called within its set, wherever that lies and however it is encoded: its path below
            the folder of all sounds, with "/" and without the ending; the file's stem if not given.

    >>> Clip(Path("ESC-50/audio/1-100032-A-0.wav"), "dog").name
    '1-100032-A-0'
    """

    path: Path
    label: str
    fold: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        # A frozen dataclass has no other way to compute a default from its other fields.
        object.__setattr__(self, "name", self.name or self.path.stem)


def name_of(inside: str) -> str:
    """Return a clip's name: its path below the folder of all sounds without the ending.

    >>> name_of("fold1/7383-3-0-0.wav")
    'fold1/7383-3-0-0'
    """
    return inside.removesuffix(Path(inside).suffix)


def choose(
    clips: Sequence[Clip],
    source: str | Path,
    folds: Collection[int] | None = None,
    labels: Collection[str] | None = None,
) -> list[Clip]:
    """Keep the clips of some folds and labels.

    Args:
        clips: all clips of the set.
        source: the table or folder that they come from, for the messages.
        folds: keep these only; None keeps all.
        labels: keep these only; None keeps all.

    Returns:
        What is kept, in the order of `clips`.

    Raises:
        DataError: no clip has one of the labels, or none is left.

    >>> clips = [Clip(Path("a.wav"), "dog", 1), Clip(Path("b.wav"), "rain", 2)]
    >>> [clip.name for clip in choose(clips, "the table", folds=[2])]
    ['b']
    """
    known = {clip.label for clip in clips}
    names = ", ".join(sorted(known))
    for label in labels or ():
        if label not in known:
            raise DataError(f"{source} has no label {label!r}", f"some of {names}")
    kept = [
        clip
        for clip in clips
        if (folds is None or clip.fold in folds) and (labels is None or clip.label in labels)
    ]
    if not kept:
        there = f"folds {sorted({clip.fold or 0 for clip in clips})} and labels {names}"
        wanted = [f"folds {sorted(folds)}"] if folds is not None else []
        wanted += [f"labels {', '.join(sorted(labels))}"] if labels is not None else []
        raise DataError(f"{source} has no clip of {' and '.join(wanted) or 'any kind'}; it has {there}")
    return kept


def load_all(
    clips: Sequence[Clip],
    labels: Sequence[str],
    sample_rate: int,
    seconds: float,
    threads: int = 2,
    own_level: bool = False,
) -> tuple[Tensor, Tensor]:
    """Decode every clip once as `load_each` does, and let none be missing.

    Args:
        clips: what to load; a silent clip is allowed and stays zero.
        labels: the classes; a label's place is its class index.
        sample_rate: in Hz.
        seconds: the length of every clip.
        threads: how many files to decode at once.
        own_level: whether clips keep their level, for classifiers that hear it; else they are at a peak of 1.

    Returns:
        waveforms: float32 (clips, samples).
        targets: int64 (clips,).

    Raises:
        DataError: a clip's label is not one of `labels`, or its file cannot be read.
    """
    waveforms, targets, failures = load_each(clips, labels, sample_rate, seconds, threads, own_level)
    for index, reason in failures.items():
        given = f"{len(failures)} of {len(clips)} clips cannot be used"
        raise DataError(f"{given}, the first is labelled {clips[index].label!r}: {reason}")
    return waveforms, targets


def load_each(
    clips: Sequence[Clip],
    labels: Sequence[str],
    sample_rate: int,
    seconds: float,
    threads: int = 2,
    own_level: bool = False,
) -> tuple[Tensor, Tensor, dict[int, str]]:
    """Decode every clip once, cut or zero-padded at its end; go on past bad files.

    Args:
        clips: what to load; a silent clip is no failure and stays zero.
        labels: the classes; a label's place is its class index.
        sample_rate: in Hz.
        seconds: the length of every clip.
        threads: how many files to decode at once.
        own_level: whether clips keep their level, for classifiers that hear it; else they are at a peak of 1.

    Returns:
        waveforms: float32 (clips, samples); zero where the file cannot be read.
        targets: int64 (clips,).
        failures: why, by the index of each clip whose file cannot be read, in the order of `clips`.

    Raises:
        DataError: a clip's label is not one of `labels`.
    """
    targets = torch.tensor([_class_index(clip, labels) for clip in clips], dtype=torch.int64)
    waveforms = torch.zeros(len(clips), round(seconds * sample_rate))
    failures = {}
    with ThreadPoolExecutor(threads) as pool:
        decoded: Iterable[Tensor | AudioError] = pool.map(lambda clip: _decode(clip, sample_rate), clips)
        for index, waveform in enumerate(decoded):
            if isinstance(waveform, AudioError):
                failures[index] = str(waveform)
                continue
            kept = waveform[: waveforms.shape[1]]
            waveforms[index, : len(kept)] = kept
            if not own_level:
                waveforms[index] = peak_normalise(waveforms[index])
    return waveforms, targets, failures


def _class_index(clip: Clip, labels: Sequence[str]) -> int:
    try:
        return labels.index(clip.label)
    except ValueError as error:
        given = f"{clip.path} has the label {clip.label!r}"
        raise DataError(
            given, f"one of {', '.join(labels)}", "add the label or leave the clip out"
        ) from error


def _decode(clip: Clip, sample_rate: int) -> Tensor | AudioError:
    try:
        return torch.from_numpy(audio.decode(clip.path, sample_rate)[0])
    except AudioError as error:
        return error
