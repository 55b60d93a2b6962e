"""RISE: how probable the class is on average where random smooth masks keep a place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

MASKS = 512
CELLS = 8
"""Of a random grid, along each axis."""
KEPT = 0.5
"""The chance of each to be kept."""


@register("rise")
class Rise(Attribution):
    """How much more probable the class is than on average where random masks keep a place.

    The authors' map is the class's mean probability, in which each mask counts by how much of the place it
    keeps. It is far from 0 everywhere, also where nothing is heard, so that it would keep the whole sound
    somewhat. Here the plain mean over all masks is taken from it, and what is left below 0 is not kept: these
    places speak for other classes.

    All sounds of a size are masked alike, by what is drawn from the seed.

    Source: section 3 of Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models,
    BMVC 2018. They divide by how much of a place masks keep on average; here it is by how much those that
    were drawn do, so that a probability which never changes gives 0 and not the noise of the draw.
    """

    summary = f"how probable the class is under each of {MASKS} random smooth masks"
    needs_gradients = False
    costly = True
    at_once: ClassVar[int] = AT_ONCE

    @torch.no_grad()
    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`."""
        inputs = picture.inputs
        parts = [probable(canvas, picture, target, masks) for masks in draw_masks(inputs, self.seed)]
        likely = torch.cat(parts, dim=1)
        # Drawn again rather than remembered, as all masks together are large.
        excess = expected(likely - likely.mean(dim=1, keepdim=True), draw_masks(inputs, self.seed))
        heard = inputs.any(dim=2).any(dim=1)[:, None, None]
        return torch.where(heard, excess.relu(), 0)


def probable(canvas: Canvas, picture: Picture, target: Tensor, masks: Tensor) -> Tensor:
    """Return how probable each clip's class is under each mask, (batch, masks).

    Args:
        canvas: the classifier.
        picture: the sounds.
        target: (batch,).
        masks: (masks, rows, frames); clips go one by one, so that these are all that is heard at once.
    """
    found = []
    for index, label in enumerate(target.tolist()):
        clip = picture.part(index, index + 1)
        extra = (value.expand(len(masks), -1, -1) for value in clip.extra)
        found.append(canvas.classifier.probabilities(canvas(clip.inputs * masks, *extra))[:, label])
    return torch.stack(found)


def expected(values: Tensor, masks: Iterator[Tensor]) -> Tensor:
    """Return the mean of values at each place, in which each counts by how much its mask keeps there.

    Args:
        values: (batch, masks), one for each mask.
        masks: (some, rows, frames) at a time.

    Returns:
        (batch, rows, frames); 0 where no mask keeps anything.

    >>> expected(torch.tensor([[1.0, 4.0]]), iter([torch.tensor([[[1.0, 0.0, 0.5]], [[0.0, 0.0, 1.0]]])]))
    tensor([[[1., 0., 3.]]])
    """
    start, total, kept = 0, torch.zeros(1), torch.zeros(1)
    total, kept = total.to(values), kept.to(values)
    for part in masks:
        stop = start + len(part)
        total = total + torch.einsum("bn,nrt->brt", values[:, start:stop], part)
        kept = kept + part.sum(dim=0)
        start = stop
    return total / kept.masked_fill(kept == 0, 1)


def draw_masks(inputs: Tensor, seed: int) -> Iterator[Tensor]:
    """Yield all masks for pictures of a size, (some, rows, frames) at a time, as many as are heard at once.

    Args:
        inputs: (batch, rows, frames), of which only the size, type and device count.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, frames = inputs.shape[1:]
    for start in range(0, MASKS, AT_ONCE):
        yield smooth_masks(min(AT_ONCE, MASKS - start), rows, frames, generator).to(inputs)


def smooth_masks(count: int, rows: int, frames: int, generator: torch.Generator) -> Tensor:
    """Draw small grids of 0 and 1 and enlarge them to masks, bilinearly and shifted by up to one cell.

    Each place is kept to the extent of `KEPT` on average; there are fewer cells than `CELLS` along an axis
    that is shorter.

    Returns:
        (count, rows, frames) in [0, 1].

    >>> smooth_masks(2, 65, 32, torch.Generator().manual_seed(0)).shape
    torch.Size([2, 65, 32])
    """
    down, along = min(rows, CELLS), min(frames, CELLS)
    grids = (torch.rand(count, down + 2, along + 2, generator=generator) < KEPT).float()
    shifts = torch.rand(2, count, generator=generator)
    return tents(rows, down, shifts[0]) @ grids @ tents(frames, along, shifts[1]).transpose(1, 2)


def tents(size: int, cells: int, shifts: Tensor) -> Tensor:
    """Return the weights by which values at the corners of cells are interpolated linearly.

    Args:
        size: how many places the cells are spread over.
        cells: how many.
        shifts: (masks,) in [0, 1), how far into the first cell the first place lies.

    Returns:
        (masks, size, cells + 2); those of a place sum to one.

    >>> tents(4, 2, torch.tensor([0.5]))
    tensor([[[0.5000, 0.5000, 0.0000, 0.0000],
             [0.0000, 1.0000, 0.0000, 0.0000],
             [0.0000, 0.5000, 0.5000, 0.0000],
             [0.0000, 0.0000, 1.0000, 0.0000]]])
    """
    place = torch.arange(size) * (cells / size) + shifts[:, None]
    return (1 - (place[:, :, None] - torch.arange(cells + 2)).abs()).clamp_min(0)
