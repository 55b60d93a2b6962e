"""The pictures of an explanation: the sound, what was heard of it, the mask, and what was decided when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec
    from matplotlib.image import AxesImage

COLUMNS = 2000
"""As many as a picture shows; longer sounds are pooled in time."""

_RANGE_DB = 80.0  # what a picture shows, down from the loudest bin
_SOUNDS, _MASK = "magma", "YlGnBu"
_LEFT, _RIGHT = 0.06, 0.92  # edges of a picture's panels
_MOST_NAMED = 5  # labels in a legend, which with "other" fill two rows of three
_LONGEST_NAME = 24  # characters of a label there


@dataclass(frozen=True)
class Columns:
    """What is drawn of a sound and a mask, (bins, columns) each.

    Args:
        sound: magnitudes.
        heard: magnitudes under the mask.
        mask: in [0, 1].
        seconds: from the middle of a column to that of the next.
        first: the middle of the first column in seconds.
    """

    sound: Tensor
    heard: Tensor
    mask: Tensor
    seconds: float
    first: float = 0.0

    @classmethod
    def of(cls, magnitude: Tensor, mask: Tensor, seconds_per_frame: float, count: int = COLUMNS) -> Columns:
        """Pool (bins, frames) to at most so many columns: by the loudest, so that short sounds show.

        >>> mask = torch.tensor([[1.0, 0.5, 0, 0]])
        >>> columns = Columns.of(torch.tensor([[0.0, 8.0, 2.0, 2.0]]), mask, 0.1, 2)
        >>> columns.sound.tolist(), columns.heard.tolist(), columns.mask.tolist()
        ([[8.0, 2.0]], [[4.0, 0.0]], [[0.75, 0.0]])
        """
        heard, frames = mask * magnitude, magnitude.shape[-1]
        if frames <= count:
            return cls(magnitude, heard, mask, seconds_per_frame)
        loudest = F.adaptive_max_pool1d(torch.stack([magnitude, heard]), count)
        seconds = seconds_per_frame * frames / count
        mean = F.adaptive_avg_pool1d(mask[None], count)[0]
        return cls(loudest[0], loudest[1], mean, seconds, (seconds - seconds_per_frame) / 2)


@dataclass(frozen=True)
class Caption:
    """What is said about a picture.

    Args:
        label: the class that is explained.
        probability: the classifier's for it.
        kept: the share of the picture that the mask keeps.
        note: small, on the right.
        mixed: whether each window is explained for its own decision, and these differ.
    """

    label: str
    probability: float
    kept: float
    note: str
    mixed: bool = False

    @property
    def heard(self) -> str:
        """What the panel of the kept part is called."""
        return "what was heard, each window for its own decision" if self.mixed else f"heard as {self.label}"


@dataclass(frozen=True)
class Span:
    """What was decided in a stretch of a sound, in seconds; ``label`` is None where it was silent."""

    start: float
    end: float
    label: str | None


def draw(
    figure: Figure,
    columns: Columns,
    caption: Caption,
    duration: float,
    highest: float,
    spans: Sequence[Span] = (),
) -> None:
    """Draw the sound, what was kept of it (both in dB below the sound's loudest bin) and the mask.

    Args:
        figure: where to draw.
        columns: what.
        caption: the words.
        duration: of the sound in seconds.
        highest: the highest frequency in Hz.
        spans: what was decided when; drawn below if there are several.
    """
    strip = len(spans) > 1
    grid = figure.add_gridspec(
        3 + strip,
        2,
        width_ratios=(1, 0.016),
        height_ratios=[1] * 3 + [0.12] * strip,
        hspace=0.24,
        wspace=0.03,
    )
    figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.885, bottom=0.135 if strip else 0.07)
    panels = _panels(figure, grid, 3 + strip, column=0)
    loudest = float(columns.sound.max())
    frame = _Frame(columns, duration, highest)
    frame.show(panels[0], _decibels(columns.sound, loudest), "the sound", _SOUNDS, (-_RANGE_DB, 0))
    heard = _decibels(columns.heard, loudest)
    decibels = frame.show(panels[1], heard, caption.heard, _SOUNDS, (-_RANGE_DB, 0))
    kept = frame.show(panels[2], columns.mask, f"the mask: {percent(caption.kept)} kept", _MASK, (0, 1))
    figure.colorbar(decibels, figure.add_subplot(grid[:2, 1]), label="dB below the loudest")
    figure.colorbar(kept, figure.add_subplot(grid[2, 1]), label="kept")
    if strip:
        _strip(panels[3], spans, caption.label)
    panels[-1].set_xlabel("time in s")
    # A label is not mathematics, even with dollar signs in it.
    title = f"{caption.label}  {percent(caption.probability)}"
    figure.text(_LEFT, 0.945, title, fontsize=16, parse_math=False)
    figure.text(_RIGHT, 0.947, caption.note, fontsize=10, ha="right", color="0.35", parse_math=False)


def draw_contrast(
    figure: Figure,
    sides: Sequence[tuple[Columns, Caption]],
    duration: float,
    highest: float,
) -> None:
    """Draw what was kept of one sound for each of several classes, and the masks, side by side.

    Args:
        figure: where to draw.
        sides: what, and the words; all of the same sound.
        duration: of the sound in seconds.
        highest: the highest frequency in Hz.
    """
    grid = figure.add_gridspec(
        3, len(sides) + 1, width_ratios=[1] * len(sides) + [0.02], hspace=0.24, wspace=0.06
    )
    figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.885, bottom=0.07)
    loudest = float(sides[0][0].sound.max())
    for number, (columns, caption) in enumerate(sides):
        frame, panels = _Frame(columns, duration, highest), _panels(figure, grid, 3, number)
        heard = f"heard as {caption.label}  {percent(caption.probability)}"
        frame.show(panels[0], _decibels(columns.sound, loudest), "the sound", _SOUNDS, (-_RANGE_DB, 0))
        decibels = frame.show(panels[1], _decibels(columns.heard, loudest), heard, _SOUNDS, (-_RANGE_DB, 0))
        kept = frame.show(panels[2], columns.mask, f"the mask: {percent(caption.kept)} kept", _MASK, (0, 1))
        panels[2].set_xlabel("time in s")
    figure.colorbar(decibels, figure.add_subplot(grid[:2, -1]), label="dB below the loudest")
    figure.colorbar(kept, figure.add_subplot(grid[2, -1]), label="kept")
    title = " or ".join(caption.label for _, caption in sides) + "?"
    figure.text(_LEFT, 0.945, title, fontsize=16, parse_math=False)
    figure.text(_RIGHT, 0.947, sides[0][1].note, fontsize=10, ha="right", color="0.35", parse_math=False)


def percent(share: float | None) -> str:
    """Say a share, with one decimal below 1 %; None is what has no number.

    >>> percent(0.173), percent(0.0031), percent(0.0), percent(None)
    ('17 %', '0.3 %', '0 %', '–')
    """
    if share is None or not isfinite(share):
        return "\N{EN DASH}"
    return f"{100 * share:.{int(0 < share < 0.01)}f} %"


@dataclass(frozen=True)
class _Frame:
    """Where the columns of a picture lie."""

    columns: Columns
    duration: float
    highest: float

    def show(
        self, axes: Axes, values: Tensor, title: str, colours: str, limits: tuple[float, float]
    ) -> AxesImage:
        bins, count = values.shape
        step, height = self.columns.seconds, self.highest / (bins - 1) / 1000
        start = self.columns.first - step / 2
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        image = axes.imshow(
            values.numpy(),
            origin="lower",
            aspect="auto",
            cmap=colours,
            vmin=limits[0],
            vmax=limits[1],
            extent=(start, start + count * step, -height / 2, (bins - 0.5) * height),
        )
        axes.set(xlim=(0, self.duration), ylim=(0, self.highest / 1000), ylabel="kHz")
        axes.label_outer()
        return image


def _panels(figure: Figure, grid: GridSpec, rows: int, column: int) -> list[Axes]:
    """Make a column of panels with a common time axis; the first three have a common frequency axis."""
    top = figure.add_subplot(grid[0, column])
    others = (
        figure.add_subplot(grid[row, column], sharex=top, sharey=top if row < 3 else None)
        for row in range(1, rows)
    )
    return [top, *others]


def _strip(axes: Axes, spans: Sequence[Span], whole: str) -> None:
    """Draw what was decided when as coloured stretches, and name the most frequent labels below."""
    from matplotlib import colormaps

    labels = _by_frequency(spans, whole)
    colours = colormaps["tab10"]
    handles = []
    for number, label in enumerate(labels):
        stretches = [(span.start, span.end - span.start) for span in spans if span.label == label]
        rare = number >= _MOST_NAMED
        bars = axes.broken_barh(stretches, (0, 1), color="0.6" if rare else colours(number), linewidth=0)
        handles.append(bars)
    names = [_shortened(label) for label in labels[:_MOST_NAMED]]
    names += ["other"] if len(labels) > _MOST_NAMED else []
    legend = axes.legend(
        handles[: len(names)],
        names,
        loc="upper left",
        bbox_to_anchor=(0, -2.2),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    axes.set(ylim=(0, 1), yticks=[], ylabel="")


def _by_frequency(spans: Sequence[Span], whole: str) -> list[str]:
    """Return the labels, the most frequent first, and that of the whole sound among those that are named."""
    counts = Counter(span.label for span in spans if span.label is not None)
    labels = [label for label, _ in counts.most_common()]
    if whole in labels[_MOST_NAMED:]:
        labels.remove(whole)
        labels.insert(_MOST_NAMED - 1, whole)
    return labels


def _shortened(label: str) -> str:
    """Leave out the middle, as long labels often differ at their ends."""
    if len(label) <= _LONGEST_NAME:
        return label
    half = _LONGEST_NAME // 2
    return f"{label[:half]}…{label[half + 1 - _LONGEST_NAME :]}"


def _decibels(magnitude: Tensor, loudest: float) -> Tensor:
    quietest = loudest * 10 ** (-_RANGE_DB / 20)
    return 20 * torch.log10(magnitude.clamp_min(quietest) / loudest)
