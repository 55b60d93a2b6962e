"""Where in time and frequency a mask keeps sound: boxes around its connected parts."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    seconds_per_frame: float
    hz_per_bin: float
    duration: float
    highest: float


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


def _box(rows: slice, columns: slice, share: float, grid: Grid) -> Region:
    def edges(part: slice, step: float, end: float) -> tuple[float, float]:
        return (
            round(max(0.0, (part.start - 0.5) * step), 6),
            round(min(end, (part.stop - 0.5) * step), 6),
        )

    start, stop = edges(columns, grid.seconds_per_frame, grid.duration)
    low, high = edges(rows, grid.hz_per_bin, grid.highest)
    return Region(start, stop, low, high, round(share, 6))
