"""Means of clips and how sure they are: the clip is the unit, as all that is made of one varies together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pandas import DataFrame, Series

RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval; NaN where there is nothing."""

    mean: float
    low: float
    high: float


def interval(values: ArrayLike, seed: int = 0) -> Interval:
    """Return the mean and its percentile interval from a bootstrap over clips.

    Args:
        values: (clips,); NaN is left out.
        seed: of the draws.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    >>> interval([1.0, 1.0, float("nan")])
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    count = len(known)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    low, high = np.quantile(draws @ known / count, [0.025, 0.975])
    return Interval(float(known.mean()), float(low), float(high))


def by_sound(rows: DataFrame, method: str, figure: str, **chosen: str) -> Series:
    """Return a method's figure per sound: the mean over all rows of the sound that are chosen.

    Args:
        rows: as `Check.table` gets them.
        method: whose.
        figure: which.
        chosen: values of other columns, such as ``variant="zeros"``.
    """
    own = rows[(rows["method"] == method) & (rows["figure"] == figure)]
    for column, value in chosen.items():
        own = own[own[column] == value]
    return own.groupby("sound")["value"].mean()


def compare(rows: DataFrame, method: str, other: str, figure: str, **chosen: str) -> Interval:
    """Return by how much a method's figure exceeds another's on the same sounds."""
    first, second = (by_sound(rows, name, figure, **chosen) for name in (method, other))
    return interval((first - second).dropna())


def methods_of(rows: DataFrame) -> list[str]:
    """Return the methods that there are rows of, in their order, without the empty one."""
    return [name for name in dict.fromkeys(rows["method"]) if name]


def means(rows: DataFrame, columns: Sequence[tuple[str, DataFrame]]) -> DataFrame:
    """Lay means per method side by side.

    Args:
        rows: all, which say what methods there are.
        columns: the name of each column, and the rows whose values are averaged for it.
    """
    table = {name: part.groupby("method")["value"].mean() for name, part in columns}
    return DataFrame(table, index=methods_of(rows))
