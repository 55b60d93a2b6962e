"""What the figures of checks share: a look for each method, and curves with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from earmark.evaluation.tables import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("black", "tab:orange", "tab:blue", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink")
_DASHES = ("--", ":", "-.", (0, (8, 3)), (0, (4, 1, 1, 1)))


def looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how each method is drawn: L-MAC black, other methods in colours, controls grey and dashed.

    >>> looks(["lmac", "random"])["random"]["color"]
    '0.5'
    """
    ranked = sorted((name for name in methods if name not in CONTROLS), key=lambda name: name != "lmac")
    styles: dict[str, dict[str, Any]] = {
        name: {"color": _COLOURS[number % len(_COLOURS)], "marker": "o", "markersize": 3}
        for number, name in enumerate(ranked)
    }
    controls = [name for name in methods if name in CONTROLS]
    for number, name in enumerate(controls):
        styles[name] = {"color": "0.5", "linestyle": _DASHES[number % len(_DASHES)]}
    return {name: styles[name] for name in methods}


def panels(count: int, width: float = 3.0, height: float = 2.8) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels in a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count + 1.6, height), dpi=100, layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def finish(figure: Figure, axes: Sequence[Axes]) -> Figure:
    """Add grids, and one legend for all panels."""
    for one in axes:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    handles = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels())}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8)
    return figure
