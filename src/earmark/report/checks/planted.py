"""How much of each planted cue explanations find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw a panel of bars per cue, a method each; arguments as all figures of checks have them."""
    from matplotlib.figure import Figure

    hits = rows[rows["figure"] == "hits"]
    cues = list(dict.fromkeys(hits["variant"])) or [""]
    methods = [name for name in dict.fromkeys(hits["method"]) if name]
    accuracy = rows[rows["figure"] == "accuracy"].groupby("variant")["value"].mean()
    colours = [style["color"] for style in looks(methods).values()]
    size = (2.2 * len(cues) + 1.6, 1.3 + 0.28 * max(len(methods), 1))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(1, len(cues), sharey=True, squeeze=False)[0]
    for axes, cue in zip(panels, cues):
        own = hits[hits["variant"] == cue].groupby("method")["value"].mean().reindex(methods)
        axes.barh(range(len(methods)), 100 * own.to_numpy(), color=colours)
        axes.set_title(f"{cue} (learned: {100 * accuracy.get(cue, float('nan')):.0f} %)", fontsize=9)
        axes.set_xlim(0, 100)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].invert_yaxis()
    figure.supxlabel("best bins that are at the planted cue, %", fontsize=9)
    return figure
