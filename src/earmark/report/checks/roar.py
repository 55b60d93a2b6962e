"""Accuracy of networks that were trained without the best bins (Figure 4, left, of the paper)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import finish, looks, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw accuracy over the share removed, mean and range of seeds; arguments as all have them."""
    figure, (axes,) = panels(1, width=4.6, height=3.6)
    points = rows.assign(share=lambda frame: 100 * frame["level"].astype(float), value=100 * rows["value"])
    nothing = points[points["method"] == ""]
    for method, style in looks([name for name in dict.fromkeys(points["method"]) if name]).items():
        own = points[points["method"] == method]
        of_seeds = _with(nothing, own).groupby(["share", "seed"])["value"].mean()
        by_share = of_seeds.groupby("share")
        mean = by_share.mean()
        # By rounding, the mean of equal figures may lie beside them.
        spread = [(mean - by_share.min()).clip(lower=0), (by_share.max() - mean).clip(lower=0)]
        axes.errorbar(mean.index, mean.to_numpy(), yerr=spread, label=method, capsize=2, **style)
    axes.set_xlabel("bins removed, %")
    axes.set_ylabel("accuracy when retrained, %")
    return finish(figure, [axes])


def _with(nothing: DataFrame, own: DataFrame) -> DataFrame:
    import pandas as pd

    return pd.concat([nothing, own])
