"""What becomes of the class when bins are filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import finish, looks, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw the class's probability over the share filled in; arguments as all figures of checks have them."""
    variants = list(dict.fromkeys(rows["variant"]))
    figure, axes = panels(len(variants), width=3.6)
    chance = rows[rows["figure"] == "p"].assign(share=lambda frame: frame["level"].astype(float))
    for one, variant in zip(axes, variants):
        for method, style in looks(list(dict.fromkeys(rows["method"]))).items():
            here = chance[(chance["method"] == method) & (chance["variant"] == variant)]
            own = here.groupby("share")["value"].mean()
            one.plot(own.index, own.to_numpy(), label=method, **style)
        one.set_title(variant, fontsize=9)
        one.set_xlabel("share of bins filled in", fontsize=8)
    axes[0].set_ylabel("probability of the class", fontsize=8)
    return finish(figure, axes)
