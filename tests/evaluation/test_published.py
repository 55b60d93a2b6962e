"""The paper's figures: all there, by names that ours meet, and only where they may be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd

from earmark.evaluation.published import add_published, datasets, published
from earmark.evaluation.tables import PAPER_METRICS
from earmark.explainers.base import names

KEYS = ["dataset", "condition", "domain", "method"]


def test_every_row_of_the_tables_is_there_once() -> None:
    figures = published()
    assert figures.groupby("table").size().to_dict() == {1: 24, 2: 26, 4: 20, 5: 40}
    assert not figures.duplicated(KEYS).any()
    assert datasets() == ["ESC-50", "UrbanSound8K"]
    assert figures.dtypes[list(PAPER_METRICS)].eq(float).all()
    assert figures[["AI", "AD", "AG", "FF", "Fid-In"]].notna().all(axis=None)


def test_its_names_are_ours() -> None:
    figures = published()
    assert set(figures["condition"]) == {"in-domain", "mixtures", "white-noise", "speech"}
    assert set(figures["domain"]) == {"stft", "features"}
    plain = {method for method in figures["method"] if " " not in method and method != "l2i"}
    assert plain <= set(names())
    assert {"lmac", "gradient-shap", "integrated-gradients"} <= plain


def test_some_cells_as_they_are_printed() -> None:
    cells = published().set_index(KEYS)
    assert cells.loc[("ESC-50", "white-noise", "stft", "lmac"), "AI"] == 83.62
    assert cells.loc[("ESC-50", "in-domain", "features", "lmac"), "AD"] == 1.59
    assert cells.loc[("ESC-50", "mixtures", "stft", "lmac ft λg=16 cct=0.7"), "COMP"] == 9.93
    assert cells.loc[("UrbanSound8K", "mixtures", "stft", "gradcam"), "MM"] == 0.60
    assert cells.loc[("UrbanSound8K", "in-domain", "stft", "l2i @0.2"), "FF"] == 0.17


def summary(area: float, method: str = "lmac", condition: str = "speech") -> pd.DataFrame:
    same = {"protocol": "corrected", "domain": "stft", "area": area, "condition": condition, "method": method}
    return pd.DataFrame([same | {"metric": metric, "published": np.nan} for metric in ("AI", "MM", "share")])


def test_they_stand_beside_the_same_method_condition_and_data() -> None:
    assert add_published(summary(np.nan))["published"].tolist()[:2] == [70.75, 0.05]
    assert add_published(summary(np.nan), "UrbanSound8K")["published"].tolist()[:2] == [18.18, 0.26]
    for nothing in (
        add_published(summary(np.nan, method="rise")),
        add_published(summary(np.nan, condition="clean")),
        add_published(summary(0.1)),  # theirs are soft masks
        add_published(summary(np.nan))[2:],  # they have no such metric
    ):
        assert nothing["published"].isna().all()
