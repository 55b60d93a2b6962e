"""Where in time and frequency a mask keeps sound: boxes around its connected parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST_SHARE = 0.01
"""Parts with less of the kept energy than this are left out, as a soft mask leaves many specks."""


@dataclass(frozen=True)
class Region:
    """A box in time and frequency.

    Args:
        start: in seconds.
        end: in seconds.
        low: in Hz.
        high: in Hz.
        share: how much of the kept energy lies in this part, 0 … 1.
    """

    start: float
    end: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class Grid:
    """How bins and frames lie in time and frequency.

    Args:
        seconds_per_frame: from the middle of a frame to that of the next.
        hz_per_bin: from the middle of a bin to that of the next.
        duration: of the sound in seconds.
        highest: the Nyquist frequency in Hz.
        start: the middle of the first frame in seconds.
    """

    seconds_per_frame: float
    hz_per_bin: float
    duration: float
    highest: float
    start: float = 0.0


def find_regions(
    mask: NDArray[Any], energy: NDArray[Any], grid: Grid, threshold: float = 0.5
) -> list[Region]:
    """Box the connected parts of a mask, the one with the most energy first.

    Bins that touch at a side or a corner are connected. A box reaches half a bin and half a frame
    beyond the middles of its outermost ones, and not beyond the sound.

    Args:
        mask: (bins, frames) in [0, 1].
        energy: (bins, frames), what the mask keeps; shares are of its sum over the whole picture.
        grid: the axes.
        threshold: a bin belongs to a part if its mask is at least this.

    >>> mask = np.zeros((4, 6))
    >>> mask[1, 2:4] = 1
    >>> find_regions(mask, mask, Grid(0.1, 100.0, duration=0.55, highest=300.0))
    [Region(start=0.15, end=0.35, low=50.0, high=150.0, share=1.0)]
    """
    # scipy.ndimage takes a while to import, and only reports need it.
    from scipy import ndimage

    total = float(energy.sum(dtype=np.float64))
    parts, count = ndimage.label(mask >= threshold, structure=np.ones((3, 3)))
    if count == 0 or total == 0:
        return []
    shares = np.bincount(parts.ravel(), energy.ravel().astype(np.float64), count + 1)[1:] / total
    regions = [
        _box(rows, columns, float(share), grid)
        for (rows, columns), share in zip(ndimage.find_objects(parts), shares)
        if share >= SMALLEST_SHARE
    ]
    return sorted(regions, key=lambda region: -region.share)


def join_regions(pieces: Sequence[Sequence[Region]], total: float, duration: float) -> list[Region]:
    """Put the regions of a sound together that was boxed piece by piece, the one with the most energy first.

    Boxes of different pieces are one region where they touch, at the pieces' border.

    Args:
        pieces: the regions of each, in the order of time; their shares are energies.
        total: the energy of all that was kept.
        duration: of the sound in seconds.

    >>> first, second = Region(0.0, 1.0, 100.0, 300.0, 6.0), Region(1.0, 1.2, 200.0, 400.0, 2.0)
    >>> join_regions([[first], [second]], 8.0, 1.1)
    [Region(start=0.0, end=1.1, low=100.0, high=400.0, share=1.0)]
    """
    boxes = [box for piece in pieces for box in piece]
    leader = list(range(len(boxes)))

    def first_of(number: int) -> int:
        while leader[number] != number:
            number = leader[number]
        return number

    start, before = 0, range(0)
    for piece in pieces:
        here = range(start, start + len(piece))
        for new, old in product(here, before):
            if _touch(boxes[old], boxes[new]):
                leader[first_of(new)] = first_of(old)
        start, before = here.stop, here
    groups: dict[int, list[Region]] = {}
    for number, box in enumerate(boxes):
        groups.setdefault(first_of(number), []).append(box)
    regions = (_around(group, total, duration) for group in groups.values())
    return sorted((r for r in regions if r.share >= SMALLEST_SHARE), key=lambda region: -region.share)


def _touch(earlier: Region, later: Region) -> bool:
    at_once = isclose(earlier.end, later.start, abs_tol=1e-5)
    return at_once and earlier.low <= later.high and later.low <= earlier.high


def _around(boxes: Sequence[Region], total: float, duration: float) -> Region:
    return Region(
        start=min(box.start for box in boxes),
        end=min(duration, max(box.end for box in boxes)),
        low=min(box.low for box in boxes),
        high=max(box.high for box in boxes),
        share=round(sum(box.share for box in boxes) / total, 6),
    )


def _box(rows: slice, columns: slice, share: float, grid: Grid) -> Region:
    def edges(part: slice, step: float, end: float, first: float = 0.0) -> tuple[float, float]:
        return (
            round(max(0.0, first + (part.start - 0.5) * step), 6),
            round(min(end, first + (part.stop - 0.5) * step), 6),
        )

    start, stop = edges(columns, grid.seconds_per_frame, grid.duration, grid.start)
    low, high = edges(rows, grid.hz_per_bin, grid.highest)
    return Region(start, stop, low, high, round(share, 6))
