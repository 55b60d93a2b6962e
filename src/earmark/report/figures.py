"""Pictures of an evaluation's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

from earmark.errors import DataError
from earmark.evaluation.tables import BETTER, CONTROLS, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = ("AI", "AD", "AG", "FF", "Fid-In")
"""What is drawn over the area."""

_ARROWS = {1: "higher is better", -1: "lower is better"}
_UNITS = {"AI": "AI, %", "AD": "AD, %", "AG": "AG, %"}
_DASHES = ("--", ":", "-.", (0, (8, 3)), (0, (4, 1, 1, 1, 1, 1)))
_GREYS = ("0.35", "0.6")
_LINE = 0.21  # inches of a line of the legend
_MARKERS = "os^vDP*X"


def faithfulness_curves(
    results: DataFrame, reference: str = "lmac", controls: Sequence[str] = CONTROLS
) -> Figure:
    """Draw AI, AD, AG, FF and Fid-In over the share of bins that masks keep, a row of panels per condition.

    At one area, masks differ only in which bins they keep; soft masks, which also differ in how much,
    are left out. The reference is black with its 95 % interval, controls are grey and dashed.

    Args:
        results: as `earmark.evaluation.tables.read_results` gives them; `select` chooses conditions,
            domain and protocol. Every combination that is in them gets a row of panels.
        reference: the method to stand out.
        controls: what is drawn in grey.

    Raises:
        DataError: no mask of the results was binarised to an area.
    """
    from matplotlib.figure import Figure

    binarised = results[results["area"].notna()]
    if binarised.empty:
        fix = "evaluate with some areas"
        raise DataError("the results have soft masks only", "masks binarised to some areas", fix)
    styles = method_styles(list(binarised["method"].unique()), reference, controls)
    summary = summarise(binarised, reference)
    rows = list(summary.groupby(["protocol", "domain", "condition"], sort=False))
    height = max(2.8 * len(rows), _LINE * len(styles)) + 0.6
    figure = Figure(figsize=(3.2 * len(PANELS) + 2.2, height), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), len(PANELS), sharex=True, sharey="col", squeeze=False)
    for panels, (key, block) in zip(grid, rows):
        for axes, metric in zip(panels, PANELS):
            _draw(axes, block[block["metric"] == metric], styles, reference)
        panels[0].set_ylabel(f"{key[2]}\n{key[1]}, {key[0]}", fontsize=10)
    for axes, metric in zip(grid[0], PANELS):
        axes.set_title(f"{_UNITS.get(metric, metric)}\n{_ARROWS[BETTER[metric]]}", fontsize=10)
    _label_areas(grid[-1], sorted(binarised["area"].unique()))
    figure.legend(
        *grid[0][0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9
    )
    return figure


def method_styles(
    methods: Sequence[str], reference: str, controls: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Give each method a look of its own: first the reference, then the ranked, then the controls.

    Args:
        methods: in the order of the legend.
        reference: black, and drawn over the others.
        controls: grey and dashed.
    """
    import matplotlib

    colours = matplotlib.color_sequences["tab20"]
    colours = [colour for colour in colours if len(set(colour)) > 1]  # grey is for controls
    looks: dict[str, dict[str, Any]] = {}
    if reference in methods:
        looks[reference] = {"color": "black", "linewidth": 2.6, "marker": "o", "zorder": 5}
    others = [name for name in methods if name not in (*controls, reference)]
    for place, name in enumerate(others):
        marker = _MARKERS[place % len(_MARKERS)]
        looks[name] = {
            "color": colours[place % len(colours)],
            "linewidth": 1.4,
            "marker": marker,
            "zorder": 3,
        }
    for place, name in enumerate(name for name in methods if name in controls and name != reference):
        grey, dashes = _GREYS[place % len(_GREYS)], _DASHES[place % len(_DASHES)]
        looks[name] = {"color": grey, "linewidth": 1.4, "linestyle": dashes, "zorder": 2}
    return looks


def _draw(axes: Axes, figures: DataFrame, styles: dict[str, dict[str, Any]], reference: str) -> None:
    for method, style in styles.items():
        own = figures[figures["method"] == method].sort_values("area")
        axes.plot(own["area"], own["mean"], label=method, markersize=4, **style)
        if method == reference:
            axes.fill_between(own["area"], own["lo"], own["hi"], color="black", alpha=0.12, linewidth=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _label_areas(panels: Sequence[Axes], areas: Sequence[float]) -> None:
    """Mark the areas there are, instead of the powers of ten."""
    for axes in panels:
        axes.set_xscale("log")
        axes.set_xticks(areas, [f"{100 * area:g}" for area in areas])
        axes.minorticks_off()
        axes.set_xlabel("bins kept, %")
