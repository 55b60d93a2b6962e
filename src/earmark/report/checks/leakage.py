"""What is read from masks alone, and what another classifier hears in what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("black", "tab:blue", "tab:cyan")


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw two panels of bars, a method each; arguments as all figures of checks have them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    percent = rows.assign(value=100 * rows["value"])
    read = percent[percent["figure"] == "reads"].groupby("method", sort=False)["value"].mean()
    left.barh(list(read.index), read.to_numpy(), color="tab:blue")
    left.axvline(percent[percent["figure"] == "chance"]["value"].mean(), color="grey", linestyle=":")
    left.set_xlabel("class read from masks alone, %  (dotted: chance)", fontsize=8)
    agreement = percent[percent["figure"] == "agreement"]
    methods = [name for name in dict.fromkeys(agreement["method"]) if name]
    variants = [name for name in dict.fromkeys(agreement["variant"]) if name != "clean"]
    height = 0.8 / max(len(variants), 1)
    for number, (variant, colour) in enumerate(zip(variants, _COLOURS)):
        mean = agreement[agreement["variant"] == variant].groupby("method")["value"].mean().reindex(methods)
        places = [place + number * height - 0.4 + height / 2 for place in range(len(methods))]
        right.barh(places, mean.to_numpy(), height=height, color=colour, label=variant)
    right.set_yticks(range(len(methods)), methods)
    right.set_ylim(-0.6, len(methods) - 0.4)
    clean = agreement[agreement["variant"] == "clean"]["value"].mean()
    right.axvline(clean, color="grey", linestyle=":")
    right.set_xlabel("another classifier agrees, %  (dotted: on the whole sound)", fontsize=8)
    for axes in (left, right):
        axes.invert_yaxis()
    if variants:
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
