"""By how much metrics differ when the written sound is scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import finish, looks, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {"AI": 2.0, "AD": 2.0, "AG": 2.0, "FF": 0.02, "Fid-In": 0.02}


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw the mean difference of each metric and its bounds; arguments as all such figures have them."""
    figure, axes = panels(len(_PANELS), width=2.2)
    mean = rows.groupby(["method", "variant", "figure"])["value"].mean()
    styles = looks(list(dict.fromkeys(rows["method"])))
    variants = list(dict.fromkeys(rows["variant"]))
    for one, (name, bound) in zip(axes, _PANELS.items()):
        for method, style in styles.items():
            known = [(n, v) for n, v in enumerate(variants) if (method, v, name) in mean.index]
            values = [mean[method, v, f"heard {name}"] - mean[method, v, name] for _, v in known]
            one.plot([n for n, _ in known], values, label=method, **style)
        one.axhspan(-bound, bound, color="tab:green", alpha=0.12, linewidth=0)
        one.set_xticks(range(len(variants)), variants)
        one.set_title(f"{name}: heard less scored", fontsize=9)
    return finish(figure, axes)
