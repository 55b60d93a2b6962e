"""Curves of deletion and insertion, a column per fill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import finish, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw the class's probability over the share of bins; arguments as all figures of checks have them."""
    from matplotlib.figure import Figure

    points = rows[rows["level"] != ""].assign(area=lambda frame: frame["level"].astype(float))
    fills = list(dict.fromkeys(points["variant"]))
    figure = Figure(figsize=(2.6 * len(fills) + 1.6, 5), dpi=100, layout="constrained")
    grid = figure.subplots(2, len(fills), sharex=True, sharey=True, squeeze=False)
    styles = looks(list(dict.fromkeys(rows["method"])))
    for line, name in zip(grid, ("deletion", "insertion")):
        for axes, fill in zip(line, fills):
            here = points[(points["figure"] == f"p {name}") & (points["variant"] == fill)]
            for method, style in styles.items():
                own = here[here["method"] == method].sort_values("area")
                axes.plot(own["area"], own["value"], label=method, **style)
            if name == "deletion":
                axes.set_title(f"filled with {fill}", fontsize=9)
            else:
                axes.set_xlabel("share of the bins", fontsize=8)
        line[0].set_ylabel(f"{name}: probability", fontsize=8)
    return finish(figure, list(grid.flat))
