"""Pictures: pooled in time, with what was decided when, and two classes side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from earmark.explanation import new_figure
from earmark.pictures import Caption, Columns, Span, draw, draw_contrast

CAPTION = Caption("dog", 0.97, 0.004, "boxes · none")


def columns(frames: int, count: int = 2000) -> Columns:
    magnitude = torch.rand(65, frames, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(65, frames)
    mask[10, frames // 2] = 1
    return Columns.of(magnitude, mask, 0.1, count)


def shown(figure: Figure) -> list[np.ndarray]:
    return [image.get_array() for axes in figure.axes for image in axes.get_images()]  # type: ignore[misc]


def texts(figure: Figure) -> str:
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return " | ".join([*titles, *(text.get_text() for text in figure.texts)])


@pytest.mark.parametrize(("frames", "count"), [(70, 70), (300, 100), (301, 100), (5000, 100)])
def test_long_sounds_are_pooled_and_keep_what_is_short(frames: int, count: int) -> None:
    pooled = columns(frames, count)
    assert pooled.mask.shape == (65, count)
    if frames % count == 0:
        assert pooled.mask.mean() == pytest.approx(1 / 65 / frames)
    magnitude = torch.rand(65, frames, generator=torch.Generator().manual_seed(0))
    assert pooled.heard.max() == magnitude[10, frames // 2]
    assert pooled.sound.max() == magnitude.max()
    assert pooled.first + (count - 0.5) * pooled.seconds == pytest.approx((frames - 0.5) * 0.1)


def test_the_strip_tells_what_was_decided_when() -> None:
    spans = [Span(0, 3, "dog"), Span(3, 5, None), Span(5, 7, "$cat_"), Span(7, 9, "dog")]
    figure = Figure()
    draw(figure, columns(90), CAPTION, 9.0, 800.0, spans)
    (strip,) = (axes for axes in figure.axes if axes.get_legend())
    assert [text.get_text() for text in strip.get_legend().get_texts()] == ["dog", "$cat_"]
    stretches = [
        [path.get_extents().intervalx.tolist() for path in bars.get_paths()] for bars in strip.collections
    ]
    assert stretches == [[[0, 3], [7, 9]], [[5, 7]]]
    assert "the mask: 0.4 % kept" in texts(figure)
    figure.canvas.draw()  # type: ignore[attr-defined]


def test_one_window_has_no_strip_and_many_labels_are_summed_up() -> None:
    figure, many = Figure(), Figure()
    draw(figure, columns(90), CAPTION, 9.0, 800.0, [Span(0, 9, "dog")])
    assert len(figure.axes) == 5
    draw(many, columns(90), CAPTION, 9.0, 800.0, [Span(i, i + 1, f"label {i % 30}") for i in range(60)])
    (legend,) = (axes.get_legend() for axes in many.axes if axes.get_legend())
    assert [text.get_text() for text in legend.get_texts()][-1] == "other"


@pytest.mark.parametrize("whole", ["c", "the rarest", "not there"])
def test_the_legend_fits_and_names_the_whole(whole: str) -> None:
    kinds = [letter * 60 + letter.upper() for letter in "abcdefgh"] + ["the rarest"]
    labels = [label for number, label in enumerate(kinds) for _ in range(2 if number < 8 else 1)]
    caption = Caption(whole if whole != "c" else kinds[2], 0.5, 0.1, "boxes · none")
    figure = new_figure()
    draw(figure, columns(90), caption, 17.0, 800.0, [Span(i, i + 1, one) for i, one in enumerate(labels)])
    (legend,) = (axes.get_legend() for axes in figure.axes if axes.get_legend())
    named = [text.get_text() for text in legend.get_texts()]
    first = [
        f"{letter * 12}…{letter * 10}{letter.upper()}" for letter in "abcde"
    ]  # of the same frequency: the earlier first
    assert named == [*first[:4], "the rarest" if whole == "the rarest" else first[4], "other"]
    figure.canvas.draw()  # type: ignore[attr-defined]
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.bbox.width


def test_a_contrast_has_a_column_for_each_class() -> None:
    figure = Figure()
    other = Caption("rooster", 0.01, 0.0, "boxes · none")
    draw_contrast(figure, [(columns(90), CAPTION), (columns(90), other)], 9.0, 800.0)
    assert len(shown(figure)) == 6
    for words in ("heard as dog  97 %", "heard as rooster  1 %", "0 % kept", "dog or rooster?"):
        assert words in texts(figure)
