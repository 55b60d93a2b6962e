"""Where masks lie in mixtures, by signal-to-noise ratio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame

from earmark.report.checks.lines import finish, looks, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {
    "IRM-AUC": "ROC-AUC, decided sound's bins",
    "share": "share of kept energy",
    "SI-SDRi": "SI-SDR improvement, dB",
    "pointing": "pointing game",
}


def draw(rows: DataFrame, folder: Path) -> Figure:
    """Draw four figures of soft masks over the ratio; arguments as all figures of checks have them."""
    soft = rows[rows["variant"] == "soft"].assign(snr=lambda frame: frame["level"].astype(float))
    figure, axes = panels(len(_PANELS), width=2.6)
    styles = looks(list(dict.fromkeys(rows["method"])))
    for one, (name, title) in zip(axes, _PANELS.items()):
        for method, style in styles.items():
            own = soft[(soft["method"] == method) & (soft["figure"] == name)].groupby("snr")["value"].mean()
            one.plot(own.index, own.to_numpy(), label=method, **style)
        one.set_title(title, fontsize=9)
        one.set_xlabel("signal to other sound, dB", fontsize=8)
    return finish(figure, axes)
