"""Cost beside truth: how faithful masks of one size are, over the time that a sound takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

from earmark.errors import DataError
from earmark.evaluation.tables import BETTER, CONTROLS, at_area, summarise
from earmark.report.figures import method_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import Series

PANELS = ("AI", "AD", "FF", "Fid-In")
"""What is drawn over the cost; at one area, AI and AG tell the same story."""

_NAMES = {1: "higher is better", -1: "lower is better"}


def cost_and_truth(
    results: DataFrame, area: float, reference: str = "lmac", controls: Sequence[str] = CONTROLS
) -> Figure:
    """Draw AI, AD, FF and Fid-In of masks of one size over seconds a sound, a point a method.

    A row of panels for each condition. Bars are 95 % intervals. Controls are grey: they ask the classifier
    nothing, and cost nearly nothing.

    Args:
        results: as `earmark.evaluation.tables.read_results` gives them, of one domain and protocol.
        area: of the masks, one of the results'.
        reference: the method to stand out.
        controls: what is drawn in grey.

    Raises:
        DataError: no mask of the results has this area.
    """
    from matplotlib.figure import Figure

    chosen = at_area(results, area)
    ranked = [name for name in chosen["method"].unique() if name != "class-mean"]
    if not ranked:
        raise DataError(f"the results have no masks of the area {area:g}", "masks binarised to it")
    styles = method_styles(ranked, reference, controls)
    seconds = chosen.groupby("method")["seconds"].median()
    summary = summarise(chosen, reference)
    rows = list(summary.groupby("condition", sort=False))
    size = (3.4 * len(PANELS) + 2.2, max(3.2 * len(rows), 0.21 * len(styles)) + 0.4)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), len(PANELS), sharex=True, sharey="col", squeeze=False)
    for panels, (condition, block) in zip(grid, rows):
        for axes, metric in zip(panels, PANELS):
            _draw(axes, block[block["metric"] == metric].set_index("method"), seconds, styles)
        panels[0].set_ylabel(f"{condition}, best {area:.0%} of the bins")
    for axes, metric in zip(grid[0], PANELS):
        axes.set_title(f"{metric}, {_NAMES[BETTER[metric]]}", fontsize=10)
    legend = grid[0][0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, figures: DataFrame, seconds: Series[float], styles: dict[str, dict[str, Any]]) -> None:
    for name, style in styles.items():
        mean, low, high = figures.loc[name, ["mean", "lo", "hi"]]
        look = {key: style[key] for key in ("color", "zorder")} | {"marker": style.get("marker", "x")}
        axes.errorbar(seconds[name], mean, [[mean - low], [high - mean]], label=name, ls="", **look)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("seconds a sound")
