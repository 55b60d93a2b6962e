"""Strips of explanations, a network's weights drawn anew from the logits down (Figure 3 of the paper)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pandas import DataFrame

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw a row per method: the sound, its explanation, and one per depth.

    Args:
        rows: of the check.
        folder: where the check left its pictures.
    """
    from matplotlib.figure import Figure

    methods = [name for name in dict.fromkeys(rows["method"]) if (folder / f"{name}.npz").exists()]
    strips = {name: np.load(folder / f"{name}.npz") for name in methods}
    width = max((len(strip["names"]) for strip in strips.values()), default=1)
    figure = Figure(figsize=(1.5 * width + 0.6, 1.35 * len(methods) + 0.5), dpi=100, layout="constrained")
    grid = figure.subplots(max(len(methods), 1), width, squeeze=False)
    for panels, (method, strip) in zip(grid, strips.items()):
        for number, (axes, picture) in enumerate(zip(panels, strip["pictures"])):
            look = {"cmap": "magma"} if number == 0 else {"cmap": "viridis", "vmin": 0, "vmax": 1}
            scale = 1.0 if number == 0 else max(float(picture.max()), 1e-6)
            axes.imshow(picture.astype(np.float32) / scale, origin="lower", aspect="auto", **look)
            if axes is grid[0, number]:
                axes.set_title(_title(str(strip["names"][number])), fontsize=7)
        panels[0].set_ylabel(method, fontsize=8)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.supxlabel(
        "time to the right, frequency upwards; the network's weights random down to …", fontsize=8
    )
    return figure


def _title(name: str) -> str:
    depth, _, layer = name.partition(" ")
    return f"{int(depth)} random,\n{layer}" if depth.isdigit() else name
