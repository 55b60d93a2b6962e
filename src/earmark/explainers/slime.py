"""SLIME: how much each segment of the picture, in time, in frequency or in both, speaks for the class."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from torch import Tensor

from earmark.errors import ModelError
from earmark.explainers.attribution import AT_ONCE, Attribution, Canvas, Picture
from earmark.explainers.base import register

WIDTH = 0.25
"""Of LIME's kernel: by how much a sound counts that is far from the whole."""


class Segments(Attribution):
    """LIME on fixed segments: a linear model of the logit says what each segment adds to it.

    The model is learned from many versions of the sound, in each of which about half of the segments are
    silenced at random. A mask keeps segments by how much they add. One that speaks against the class has a
    negative weight and is not kept: by its absolute value, a mask would keep it as if it spoke for it.

    Attributes:
        pieces: how many segments there are along rows and frames; fewer where there are fewer of these.
        passes: how many versions of the sound the classifier hears.

    Source: Mishra et al., Local Interpretable Model-Agnostic Explanations for Music Content Analysis, ISMIR
    2017, and Reliable Local Explanations for Machine Listening, IJCNN 2020; Ribeiro et al., "Why Should I
    Trust You?", KDD 2016, by Captum.
    """

    needs_gradients = False
    at_once = 1
    pieces: ClassVar[tuple[int, int]]
    passes: ClassVar[int]

    def attribute(self, canvas: Canvas, picture: Picture, target: Tensor) -> Tensor:
        """See `Attribution.attribute`.

        Raises:
            ModelError: the picture is a single segment.
        """
        rows, frames = picture.inputs.shape[1:]
        segments = grid(rows, frames, self.pieces).to(picture.inputs.device)
        if not segments.any():
            given = f"{self.name} finds one segment in a picture of {rows} rows and {frames} frames"
            raise ModelError(given, "two or more", "explain on the stft, or by segments of the other axis")
        if not picture.inputs.any():
            return torch.zeros_like(picture.inputs)
        found: Tensor = Lime(canvas, SkLearnRidge(), closeness).attribute(
            picture.inputs,
            baselines=0,
            target=target,
            additional_forward_args=picture.extra,
            feature_mask=segments[None],
            n_samples=self.passes,
            perturbations_per_eval=AT_ONCE,
        )
        return found.relu()


@register("slime")
class Slime(Segments):
    """SLIME on a grid over time and frequency."""

    summary = "LIME on a grid of 8 x 8 segments in time and frequency"
    costly = True
    pieces = (8, 8)
    passes = 320


@register("slime-time")
class SlimeTime(Segments):
    """SLIME on segments in time: when the sound speaks for the class."""

    summary = "LIME on 10 segments in time"
    pieces = (1, 10)
    passes = 96


@register("slime-frequency")
class SlimeFrequency(Segments):
    """SLIME on bands: at what frequencies the sound speaks for the class."""

    summary = "LIME on 8 bands of frequency"
    pieces = (8, 1)
    passes = 96


def grid(rows: int, frames: int, pieces: tuple[int, int]) -> Tensor:
    """Return the number of the segment that each place lies in, (rows, frames), counted from 0.

    Args:
        rows: of the picture.
        frames: of the picture.
        pieces: how many segments along each, if it is as long; their sizes differ by one at most.

    >>> grid(3, 4, (2, 2))
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1],
            [2, 2, 3, 3]])
    """
    down, along = min(rows, pieces[0]), min(frames, pieces[1])
    row = torch.arange(rows) * down // rows
    return row[:, None] * along + torch.arange(frames) * along // frames


def closeness(whole: Tensor, silenced: Tensor, kept: Tensor, **_: Any) -> Tensor:
    """Return how much a version of the sound counts, by how many of its segments are kept.

    It is LIME's kernel, exp(-d² / 2 WIDTH²), of the cosine distance d between which are kept and all ones. So
    the share of kept segments is all that counts.

    Args:
        whole: the sound.
        silenced: the version.
        kept: (1, segments) of 0 and 1.

    >>> closeness(torch.ones(1), torch.ones(1), torch.tensor([[1, 1], [1, 0], [0, 0]]))
    tensor([1.0000e+00, 5.0344e-01, 3.3546e-04])
    """
    distance = 1 - kept.float().mean(dim=1).sqrt()
    return torch.exp(-(distance**2) / (2 * WIDTH**2))
