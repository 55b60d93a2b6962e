"""The conditions explainers are scored in: which sounds, made of which parts."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from earmark.data.mixtures import mix, pairs_of_other_class
from earmark.data.noise import random_noise
from earmark.errors import DataError
from earmark.metrics import Protocol


@dataclass(frozen=True)
class Sounds:
    """Sounds to explain, as the sum of a source at its own level and an interferer.

    Args:
        source: (sounds, samples).
        interferer: (sounds, samples).
        labels: (sounds,), the classes of the sources.
        clips: (sounds,), the index of the clip that each source is.
        names: of the interferers; empty where nobody asks.
    """

    source: Tensor
    interferer: Tensor
    labels: Tensor
    clips: Tensor
    names: tuple[str, ...] = ()

    @property
    def mixture(self) -> Tensor:
        """What is heard, (sounds, samples)."""
        return self.source + self.interferer

    def __len__(self) -> int:
        return len(self.source)

    def divided(self, level: Tensor) -> Sounds:
        """Return the same sounds at another level: divided by (sounds, 1)."""
        return replace(self, source=self.source / level, interferer=self.interferer / level)

    def part(self, index: Tensor, device: torch.device) -> Sounds:
        """Return some of the sounds, on a device."""
        parts = (self.source, self.interferer, self.labels, self.clips)
        source, interferer, labels, clips = (values[index].to(device) for values in parts)
        names = tuple(self.names[place] for place in index.tolist()) if self.names else ()
        return Sounds(source, interferer, labels, clips, names)


def mixtures(
    waveform: Tensor, labels: Tensor, per_clip: int = 2, snr_db: float = 3.0, seed: int = 0
) -> Sounds:
    """Mix each clip with clips of other classes at a signal-to-noise ratio.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        per_clip: how many mixtures a clip is the louder part of.
        snr_db: over the whole clip.
        seed: of the choice of the other clips.

    >>> len(mixtures(torch.randn(3, 400), torch.tensor([0, 1, 2]), per_clip=2))
    6
    """
    base, other = pairs_of_other_class(labels, per_clip, seed).unbind(1)
    return _sounds(waveform[base], waveform[other], labels[base], base, snr_db)


def in_noise(
    waveform: Tensor, labels: Tensor, noises: Sequence[Tensor], snr_db: float = 0.0, seed: int = 0
) -> Sounds:
    """Mix each clip with a random piece of recorded noise at a signal-to-noise ratio.

    Args:
        waveform: (clips, samples).
        labels: (clips,).
        noises: recordings of any length, (samples,) each.
        snr_db: over the whole clip.
        seed: of the choice of the pieces.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = random_noise(noises, len(waveform), waveform.shape[1], generator)
    return _sounds(waveform, noise, labels, torch.arange(len(waveform)), snr_db)


@dataclass(frozen=True)
class Material:
    """What conditions are made from.

    Args:
        names: of the clips, each once; what is drawn for a clip depends on its name, the seed and what there
            is to draw from, not on the order of the clips.
        waveform: (clips, samples).
        labels: (clips,).
        noises: recorded noise by name, (samples,) each.
        speech: recorded speech by name, (samples,) each.
    """

    names: tuple[str, ...]
    waveform: Tensor
    labels: Tensor
    noises: Mapping[str, Tensor] = field(default_factory=dict)
    speech: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def audible(self) -> Tensor:
        """Which clips are not silent, (clips,)."""
        return self.waveform.any(dim=1)

    @cached_property
    def by_name(self) -> Tensor:
        """The indices of the clips in the order of their names, (clips,)."""
        return torch.tensor(sorted(range(len(self.names)), key=self.names.__getitem__))


class Drawn(NamedTuple):
    """An interferer for a clip: its name, and its waveform, (samples,)."""

    name: str
    waveform: Tensor


@dataclass(frozen=True)
class Condition:
    """What is added to the clips, and how loud.

    Args:
        summary: one line for people.
        draw: material, index of a clip, and seed → what is added to that clip.
        snr_db: the clip's level over the interferer's, over the whole clip.
        paper_snr_db: what the authors' program mixes at.
        option: which of a command's options the interferers come from; empty for none.
    """

    summary: str
    draw: Callable[[Material, int, int], Drawn]
    snr_db: float
    paper_snr_db: float
    option: str = ""


def make_sounds(
    condition: str,
    material: Material,
    clips: Sequence[int],
    seed: int = 0,
    protocol: Protocol = "corrected",
) -> Sounds:
    """Make one sound of each clip, the same in every run.

    Args:
        condition: one of `CONDITIONS`.
        material: clips and what is added to them.
        clips: the indices of those wanted.
        seed: of the choice of interferers.
        protocol: "paper" mixes as the authors' program does.

    Returns:
        the sounds; where the clip or its interferer is silent no gain gives the ratio, and nothing is added.

    Raises:
        DataError: no such condition, or there is nothing to add.

    >>> material = Material(("a", "b"), torch.randn(2, 400), torch.tensor([0, 1]))
    >>> make_sounds("mixtures", material, [1]).names
    ('a',)
    """
    kind = find_condition(condition)
    drawn = [kind.draw(material, index, seed) for index in clips]
    index = torch.tensor(list(clips))
    snr_db = kind.paper_snr_db if protocol == "paper" else kind.snr_db
    interferer = torch.stack([one.waveform for one in drawn])
    names = tuple(one.name for one in drawn)
    return _sounds(material.waveform[index], interferer, material.labels[index], index, snr_db, names)


def find_condition(name: str) -> Condition:
    """Return the condition of that name.

    Raises:
        DataError: there is none; the message lists those there are.
    """
    if name not in CONDITIONS:
        given, known = f"there is no condition {name!r}", ", ".join(CONDITIONS)
        raise DataError(given, f"one of {known}", "pick one of these")
    return CONDITIONS[name]


def _sounds(
    source: Tensor,
    interferer: Tensor,
    labels: Tensor,
    clips: Tensor,
    snr_db: float,
    names: tuple[str, ...] = (),
) -> Sounds:
    _, interferer = mix(source, interferer, snr_db)
    return Sounds(source, interferer, labels, clips, names)


def _chance(material: Material, index: int, seed: int) -> np.random.Generator:
    """Return what all chance for a clip comes from: its name, not its place among the others."""
    # File names may hold bytes that are no UTF-8.
    name = material.names[index].encode(errors="backslashreplace")
    return np.random.default_rng([seed, zlib.crc32(name)])


def _nothing(material: Material, index: int, seed: int) -> Drawn:
    return Drawn("", torch.zeros_like(material.waveform[index]))


def _other_clip(material: Material, index: int, seed: int) -> Drawn:
    # By name, so that the order of the clips decides nothing.
    order = material.by_name
    others = order[(material.labels[order] != material.labels[index]) & material.audible[order]]
    if not len(others):
        given = f"there is no clip of another class to mix {material.names[index]} with"
        raise DataError(given, "clips of two classes", "add some, or leave the condition mixtures out")
    chosen = int(_chance(material, index, seed).choice(others.numpy()))
    return Drawn(material.names[chosen], material.waveform[chosen])


def _white_noise(material: Material, index: int, seed: int) -> Drawn:
    noise = _chance(material, index, seed).standard_normal(material.waveform.shape[1], dtype=np.float32)
    return Drawn("white noise", torch.from_numpy(noise))


def _recorded_noise(material: Material, index: int, seed: int) -> Drawn:
    return _recording(material.noises, material, index, seed)


def _speech(material: Material, index: int, seed: int) -> Drawn:
    return _recording(material.speech, material, index, seed)


def _recording(recordings: Mapping[str, Tensor], material: Material, index: int, seed: int) -> Drawn:
    """Draw a piece of a recording; a short one is looped."""
    if not recordings:
        raise DataError("there is no recording to add to the clips", "at least one")
    chance = _chance(material, index, seed)
    name = str(chance.choice(sorted(recordings)))
    generator = torch.Generator().manual_seed(int(chance.integers(2**31)))
    piece = random_noise([recordings[name]], 1, material.waveform.shape[1], generator)[0]
    return Drawn(name, piece)


CONDITIONS = {
    "clean": Condition("the clips alone", _nothing, 0.0, 0.0),
    "in-domain": Condition("recorded noise, as in training", _recorded_noise, 0.0, 0.0, "noise"),
    "mixtures": Condition("a clip of another class", _other_clip, 3.0, 20 * float(np.log10(0.8 / 0.2))),
    "white-noise": Condition("white noise", _white_noise, 3.0, 20 * float(np.log10(1 / 0.5))),
    "speech": Condition("a voice", _speech, 3.0, 20 * float(np.log10(0.8 / 0.2)), "speech"),
}
"""What explainers are scored on, by name; the authors mix at 0.8 : 0.2 and at 1 : 0.5, which is no 3 dB."""
