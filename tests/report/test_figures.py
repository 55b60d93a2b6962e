"""The curves show the means at each area, the reference and the controls as such."""

from __future__ import annotations

import io

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from earmark.errors import DataError
from earmark.evaluation.tables import BETTER, CONTROLS
from earmark.report.figures import PANELS, faithfulness_curves

AREAS = (0.02, 0.1, 0.6)
CLIPS = 7


def results(
    methods: dict[str, float], condition: str = "clean", areas: tuple[float, ...] = AREAS
) -> pd.DataFrame:
    """Return results in which the means of a method are `value + area`, less 1 for each later panel."""
    clips = [f"clip {number}" for number in range(CLIPS)]
    fixed: dict[str, object] = {"protocol": "corrected", "domain": "stft", "condition": condition, "seed": 0}
    fixed |= {"label": "dog", "target": "dog", "error": "", "sound": clips, "clip": clips}
    spread = np.linspace(-0.3, 0.3, CLIPS)
    parts = []
    for method, value in methods.items():
        for area in areas:
            figures = {name: value + area + spread for name in BETTER if name != "accuracy"}
            figures |= {name: value + area - place + spread for place, name in enumerate(PANELS)}
            parts.append(pd.DataFrame(fixed | {"method": method, "area": area} | figures))
    return pd.concat(parts, ignore_index=True)


def line(axes: Axes, method: str):
    [found] = [each for each in axes.get_lines() if each.get_label() == method]
    return found


def test_lines_are_the_means_over_the_areas() -> None:
    table = results({"saliency": 1.0, "lmac": 2.0}).sample(frac=1, random_state=0)
    figure = faithfulness_curves(pd.concat([table, results({"lmac": 9.0}, areas=(np.nan,))]))
    assert len(figure.axes) == len(PANELS)
    for place, axes in enumerate(figure.axes):
        for method, value in (("saliency", 1), ("lmac", 2)):
            drawn = line(axes, method)
            assert drawn.get_xdata().tolist() == list(AREAS)
            assert drawn.get_ydata() == pytest.approx([value + area - place for area in AREAS])
        assert axes.get_title().split("\n")[0].removesuffix(", %") == PANELS[place]
        assert axes.get_xscale() == "log"
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "10", "60"]


def test_a_row_per_condition() -> None:
    figure = faithfulness_curves(pd.concat([results({"lmac": 1.0}), results({"lmac": 5.0}, "speech")]))
    assert len(figure.axes) == 2 * len(PANELS)
    assert [figure.axes[row * len(PANELS)].get_ylabel().split("\n")[0] for row in (0, 1)] == [
        "clean",
        "speech",
    ]
    assert line(figure.axes[len(PANELS)], "lmac").get_ydata()[0] == pytest.approx(5.02)


def test_the_reference_stands_out_and_controls_stand_back() -> None:
    figure = faithfulness_curves(results({"random": 0.0, "rise": 1.0, "lmac": 2.0}))
    random, rise, lmac = (line(figure.axes[0], name) for name in ("random", "rise", "lmac"))
    assert lmac.get_color() == "black"
    assert lmac.get_linewidth() > rise.get_linewidth()
    assert random.get_linestyle() != "-" == rise.get_linestyle()
    assert len(set(matplotlib.colors.to_rgb(random.get_color()))) == 1  # grey
    [band] = figure.axes[0].collections  # the interval of the reference alone
    assert band.get_paths()[0].contains_point((0.1, 2.1))


def test_twenty_methods_can_be_told_apart() -> None:
    methods = {f"method {number}": float(number) for number in range(18)} | {"lmac": 0.5}
    figure = faithfulness_curves(results(methods | dict.fromkeys(CONTROLS, 0.0)))
    drawn = figure.axes[0].get_lines()
    looks = {(str(each.get_color()), each.get_marker(), str(each._dash_pattern)) for each in drawn}
    assert len(looks) == len(drawn) == 19 + len(CONTROLS)
    figure.canvas.draw()
    [legend] = figure.legends
    assert legend.get_texts()[0].get_text() == "lmac"
    box = legend.get_window_extent()
    assert figure.bbox.y0 <= box.y0
    assert all(axes.get_window_extent().x1 < box.x0 for axes in figure.axes)


def test_it_becomes_a_picture() -> None:
    file = io.BytesIO()
    faithfulness_curves(results({"rise": 1.0}), reference="lmac").savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_soft_masks_alone_make_no_curve() -> None:
    with pytest.raises(DataError, match="soft masks only; expected masks binarised"):
        faithfulness_curves(results({"lmac": 1.0}, areas=(np.nan,)))
