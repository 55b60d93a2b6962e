"""Mean opinion scores with intervals, and tests of pairs of methods (Table 3 and Figure 2 of the paper)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from pandas import DataFrame

CONFIDENCE = 0.95
FEWEST = 6
"""Listeners below which no exact signed-rank test of a pair can be below 0.05."""


def mean_and_half(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return a mean, and half its 95 % interval by Student's t; nan for what one value cannot tell.

    >>> mean, half = mean_and_half([50, 60, 70])
    >>> round(mean), round(half, 1)
    (60, 24.8)
    """
    from scipy.stats import t

    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2:
        return (float(numbers[0]) if len(numbers) else math.nan), math.nan
    half = t.ppf((1 + CONFIDENCE) / 2, len(numbers) - 1) * numbers.std(ddof=1) / math.sqrt(len(numbers))
    return float(numbers.mean()), float(half)


def opinion(ratings: DataFrame, by: Sequence[str] = ("condition",)) -> DataFrame:
    """Return mean opinion scores.

    A listener's ratings of several recordings are not independent, so a listener counts once: the mean is of
    the listeners' means, and the interval is of them. Where every listener rated every recording, that is the
    mean of all ratings.

    Args:
        ratings: columns "listener", "score", and those of ``by``.
        by: what to give a score for.

    Returns:
        a row each, with "mos", "half" (of the 95 % interval), "listeners" and "ratings".
    """
    rows = []
    for key, group in ratings.groupby(list(by), sort=False):
        means = group.groupby("listener")["score"].mean()
        mean, half = mean_and_half(means.to_numpy())
        rows.append((*key, mean, half, len(means), len(group)))
    return DataFrame(rows, columns=[*by, "mos", "half", "listeners", "ratings"])


def paired(ratings: DataFrame, conditions: Sequence[str]) -> DataFrame:
    """Compare conditions two by two, by what the same listener gave to both for the same recordings.

    Args:
        ratings: columns "listener", "trial", "condition", "score".
        conditions: what to compare, in their order.

    Returns:
        a row a pair: "difference" of the listeners' mean ratings (first less second), "half" of its 95 %
        interval, "p" of Wilcoxon's signed-rank test over listeners, "holm", that p corrected for the number
        of pairs, and "listeners". Without two listeners, or any difference, p is nan or 1.
    """
    wide = ratings.pivot_table(index=["listener", "trial"], columns="condition", values="score")
    rows = []
    for first, second in combinations([name for name in conditions if name in wide], 2):
        gaps = (wide[first] - wide[second]).dropna().groupby("listener").mean()
        rows.append(
            (first, second, *mean_and_half(gaps.to_numpy()), _signed_rank(gaps.to_numpy()), len(gaps))
        )
    table = DataFrame(rows, columns=["first", "second", "difference", "half", "p", "listeners"])
    table.insert(5, "holm", holm(table["p"].to_numpy()))
    return table


def _signed_rank(gaps: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if len(gaps) < 2:
        return math.nan
    return float(wilcoxon(gaps).pvalue) if np.any(gaps != 0) else 1.0


def holm(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p values corrected for their number, by Holm's steps; nan stays nan and is not counted.

    >>> [float(p) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    numbers = np.asarray(values, dtype=float)
    known = np.flatnonzero(~np.isnan(numbers))
    order = known[np.argsort(numbers[known], kind="stable")]
    steps = numbers[order] * (len(order) - np.arange(len(order)))
    result = numbers.copy()
    result[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return result


def table_3(ratings: DataFrame, conditions: Sequence[str]) -> DataFrame:
    """Return methods × sets of recordings, "mean ± half" each.

    Args:
        ratings: columns "listener", "set", "condition", "score".
        conditions: the rows, in their order.
    """
    found = opinion(ratings, ("condition", "set"))
    found["text"] = [_shown(mean, half) for mean, half in zip(found["mos"], found["half"])]
    sets = list(dict.fromkeys(ratings["set"]))
    table = found.pivot(index="condition", columns="set", values="text")
    return table.reindex([one for one in conditions if one in table.index])[sets].fillna("—")


def _shown(mean: float, half: float) -> str:
    return f"{mean:.1f}" if pd.isna(half) else f"{mean:.1f} ± {half:.1f}"
