"""Sounds of any length in windows of one length, and what was made of the windows in one piece again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from earmark.audio import Waveform

OVERLAP = 0.2
"""How much of a window the next one hears again, if nobody says otherwise."""


class Window(NamedTuple):
    """A piece of a sound as the classifier hears it.

    Args:
        start: its first sample in the sound.
        waveform: (samples,), as long as a window; shorter only if the whole sound is.
    """

    start: int
    waveform: Waveform

    @property
    def end(self) -> int:
        """The first sample in the sound after it."""
        return self.start + len(self.waveform)


@dataclass(frozen=True)
class Windows:
    """Where the windows of a sound lie, on its samples and on the frames of its STFT.

    Windows start at whole frames, so that their frames are those of the sound. The last one alone is shifted
    back to end with the sound, so that the classifier hears sound all through it; its frames are counted
    from their end, and lie less than a frame beside the sound's.

    Args:
        length: of a window, in samples.
        step: samples from one window to the next, a multiple of ``hop``.
        hop: samples from one frame to the next.
    """

    length: int
    step: int
    hop: int

    @classmethod
    def of(cls, length: int, hop: int, overlap: float = OVERLAP) -> Windows:
        """Lay out windows of a length in samples that share at least ``overlap`` of it, in [0, 0.5].

        >>> Windows.of(80000, 186)
        Windows(length=80000, step=63984, hop=186)
        """
        return cls(length, max(1, int(length * (1 - overlap)) // hop) * hop, hop)

    @property
    def overlap(self) -> int:
        """Samples that a window shares with the next."""
        return self.length - self.step

    def count(self, samples: int) -> int:
        """Return how many windows a sound has.

        >>> [Windows(100, 80, 10).count(samples) for samples in (1, 100, 101, 180, 181)]
        [1, 1, 2, 2, 3]
        """
        return 1 + max(0, -(-(samples - self.length) // self.step))

    def first_frame(self, window: Window) -> int:
        """Return which of the sound's frames is the first of a window."""
        if window.start % self.step == 0:
            return window.start // self.hop
        return window.end // self.hop - self.length // self.hop

    def cut(self, blocks: Iterable[Waveform]) -> Iterator[Window]:
        """Cut a sound that comes in blocks; no more of it is held than a window, a step and a block.

        >>> sound = np.arange(25, dtype=np.float32)
        >>> [(window.start, window.end) for window in Windows(10, 8, 2).cut([sound[:13], sound[13:]])]
        [(0, 10), (8, 18), (15, 25)]
        """
        held, start, end = np.zeros(0, np.float32), 0, 0
        for block in blocks:
            held = np.concatenate([held, block])
            while len(held) >= self.length + (end > 0) * self.step:
                held, start = (held[self.step :], start + self.step) if end else (held, start)
                window = Window(start, held[: self.length])
                end = window.end
                yield window
        missing = start + len(held) - end
        if missing > 0:
            back = max(0, len(held) - self.length)
            yield Window(start + back, held[back:])

    def sample_stitcher(self) -> Stitcher:
        """Return what joins waveforms, (…, samples), of windows that start where `Window.start` says."""
        return Stitcher(_rise(torch.arange(self.overlap) + 0.5, self.overlap))

    def frame_stitcher(self, hard: bool = False) -> Stitcher:
        """Return what joins masks, (…, frames), of windows that start where `first_frame` says.

        Args:
            hard: whether to change over at once, halfway, so that masks of 0 and 1 stay so.
        """
        shared = self.length // self.hop + 1 - self.step // self.hop
        rise = _rise(torch.arange(shared) * self.hop, self.overlap)
        return Stitcher((rise >= 0.5).float() if hard else rise)


class Stitcher:
    """Joins what was made of overlapping windows: at each end of a window it changes over to the next.

    Weights sum to one, so that what is the same in both windows comes out the same. What can no longer change
    is given back at once; no more is held than the overlap.

    Args:
        rise: the weight of the later window, over the last ``len(rise)`` places of the earlier one.

    >>> stitcher = Stitcher(torch.tensor([0.25, 0.75]))
    >>> stitcher.add(0, torch.zeros(5)), stitcher.add(3, torch.ones(5)), stitcher.end()
    (tensor([0., 0., 0.]), tensor([0.2500, 0.7500, 1.0000]), tensor([1., 1.]))
    """

    def __init__(self, rise: Tensor) -> None:
        self.rise = rise
        self.position = 0
        self.tail: Tensor | None = None

    def add(self, start: int, values: Tensor) -> Tensor:
        """Add the next window, (…, places), that starts at a place; return what is finished by it.

        What lies before the end of the window before, less the overlap, is not used.
        """
        fresh = values[..., self.position - start :]
        shared = len(self.rise)
        if self.tail is not None and shared:
            joined = self.tail + (fresh[..., :shared] - self.tail) * self.rise
            fresh = torch.cat([joined, fresh[..., shared:]], dim=-1)
        finished = max(0, fresh.shape[-1] - shared)
        self.position += finished
        # A copy, so that the window it is a part of need not be kept.
        self.tail = fresh[..., finished:].clone()
        return fresh[..., :finished]

    def end(self) -> Tensor:
        """Return what is left after the last window."""
        if self.tail is None:
            return torch.zeros(0)
        tail, self.tail = self.tail, None
        self.position += tail.shape[-1]
        return tail


def _rise(place: Tensor, length: int) -> Tensor:
    """Return a raised cosine from 0 to 1 over a length."""
    return 0.5 - 0.5 * torch.cos(torch.pi * (place / max(1, length)).clamp(0, 1))
