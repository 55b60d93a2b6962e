"""The published figures of L-MAC and the methods it was compared with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas import DataFrame

from earmark.evaluation.tables import PAPER_METRICS

_FILE = Path(__file__).with_name("published.csv")
_KEYS = ["domain", "condition", "method"]


def published() -> DataFrame:
    """Return the figures of the paper's Tables 1, 2, 4 and 5, its conditions and methods by our names.

    Returns:
        table, dataset ("ESC-50" or "UrbanSound8K"), condition, domain, method, and the eight metrics; AI,
        AD and AG in %. MM is NaN where the paper gives none. Variants of a method have the paper's settings
        in their names: "lmac ft λg=4", "l2i @0.2".

    Source: Paissan et al., Listenable Maps for Audio Classifiers, ICML 2024. A few of its cells are
    impossible (SPS of 36.62, AG above AI) and stay as they were printed.

    >>> figures = published()
    >>> figures[(figures.table == 2) & (figures.domain == "stft") & (figures.method == "lmac")].AI.item()
    60.63
    """
    return pd.read_csv(_FILE, encoding="utf-8")


def datasets() -> list[str]:
    """Return the names of the data sets with published figures.

    >>> datasets()
    ['ESC-50', 'UrbanSound8K']
    """
    return list(published()["dataset"].unique())


def add_published(summary: DataFrame, dataset: str = "ESC-50") -> DataFrame:
    """Put the published figures beside ours, for soft masks, as the published ones rest on these.

    Args:
        summary: as `earmark.evaluation.tables.summarise` gives it.
        dataset: one of `datasets`.

    Returns:
        the summary with its column "published" filled where there is such a figure.
    """
    figures = published().query("dataset == @dataset")
    long = figures.melt(_KEYS, list(PAPER_METRICS), var_name="metric", value_name="published")
    merged = summary.drop(columns="published").merge(long, how="left", on=[*_KEYS, "metric"])
    merged["published"] = merged["published"].where(merged["area"].isna())
    return merged
