"""How alike explanations of retrained networks are: with the same labels, and with shuffled ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {"rank": "rank correlation with the true labels' mask", "SSIM": "SSIM with the true labels' mask"}
_LOOKS = {
    "true again": {"label": "true labels, other seed", "color": "black", "marker": "o"},
    "shuffled": {"label": "shuffled labels", "color": "tab:orange", "marker": "s"},
}
_WIDE = 1.96  # standard errors to each side of a mean: 95 %


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw two dots per method with their 95 % intervals; arguments as all figures of checks have them."""
    from matplotlib.figure import Figure

    methods = [name for name in dict.fromkeys(rows["method"]) if name]
    height = 1.4 + 0.35 * max(len(methods), 1)
    figure = Figure(figsize=(9, height), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (name, title) in zip(panels, _PANELS.items()):
        for number, (variant, look) in enumerate(_LOOKS.items()):
            own = rows[(rows["figure"] == name) & (rows["variant"] == variant)].groupby("method")["value"]
            mean, error = own.mean().reindex(methods), own.sem().reindex(methods)
            places = [place + 0.2 * number - 0.1 for place in range(len(methods))]
            axes.errorbar(mean.to_numpy(), places, xerr=_WIDE * error.to_numpy(), linestyle="none", **look)
        axes.set_xlabel(title, fontsize=8)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8
    )
    return figure
