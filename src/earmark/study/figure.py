"""Figure 2 of the paper: mean opinion scores of every recording, a panel for each set of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pandas import DataFrame

from earmark.files import whole

_BAR = 0.8  # of the room that a recording has


def draw_figure_2(scores: DataFrame, conditions: Sequence[str], path: Path) -> None:
    """Draw bars with 95 % intervals.

    Args:
        scores: columns "set", "trial", "condition", "mos", "half".
        conditions: in their order.
        path: PNG, PDF or SVG.

    Raises:
        OutputError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(scores["set"]))
    sizes = [scores[scores["set"] == one]["trial"].nunique() for one in sets]
    figure = Figure(figsize=(max(6.0, 1.2 * sum(sizes) + 1), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False, width_ratios=sizes)[0]
    for axes, one in zip(panels, sets):
        _panel(axes, scores[scores["set"] == one], conditions)
        axes.set_title(_plain(one))
    panels[0].set_ylabel("mean opinion score")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _panel(axes: object, scores: DataFrame, conditions: Sequence[str]) -> None:
    trials = list(dict.fromkeys(scores["trial"]))
    width = _BAR / len(conditions)
    for place, condition in enumerate(conditions):
        own = scores[scores["condition"] == condition].set_index("trial").reindex(trials)
        at = np.arange(len(trials)) - _BAR / 2 + (place + 0.5) * width
        axes.bar(  # type: ignore[attr-defined]
            at,
            own["mos"],
            width,
            yerr=own["half"],
            capsize=2,
            label=_plain(condition),
            color=f"C{place}",
        )
    axes.set_xticks(range(len(trials)), list(map(_plain, trials)))  # type: ignore[attr-defined]
    axes.set_ylim(0, 100)  # type: ignore[attr-defined]
    axes.set_xlabel("recording")  # type: ignore[attr-defined]
    axes.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]


def _plain(name: object) -> str:
    """Keep a name from being set as a formula, or, with "_" before it, from being left out of a legend."""
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
