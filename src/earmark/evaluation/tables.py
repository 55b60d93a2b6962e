"""From a results file to means, intervals and differences: what the tables and curves are made of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame

from earmark.errors import DataError, RecipeError

BETTER = {
    "AI": 1,
    "AD": -1,
    "AG": 1,
    "FF": 1,
    "Fid-In": 1,
    "SPS": 1,
    "COMP": -1,
    "MM": 0,
    "share": 1,
    "SI-SDRi": 1,
    "SI-SDR": 1,
    "FF all": 0,
    "share mixture": 0,
    "accuracy": 0,
    "seconds": 0,
}
"""Every figure that is averaged: 1 where higher is better, -1 where lower is, 0 where neither is."""

CONTROLS = ("all-ones", "all-zeros", "random", "loudest", "class-mean")
"""Masks that explain nothing: shown beside the methods, but not ranked with them."""

FEWEST_CLIPS = 6
"""Fewer get no interval: up to five clips are all on one side in 1 of 16 cases by chance alone."""

PAPER_METRICS = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM")
_ABOUT_SOURCE = ["share", "share mixture", "SI-SDR", "SI-SDRi"]
_BLOCK = ["protocol", "domain", "area", "condition"]
_SOUND = ["seed", "sound", "clip"]
_TEXTS = ("protocol", "domain", "condition", "method", "sound", "clip")
_OTHER_TEXTS = ("label", "target", "error")
_FIGURES = [name for name in BETTER if name != "accuracy"]
_NEEDED = (*_TEXTS, *_OTHER_TEXTS, "seed", "area", *PAPER_METRICS)


def read_results(path: str | Path) -> DataFrame:
    """Read the results of an evaluation: one row per sound, method, domain and area of the mask.

    A last line of CSV that a stopped run did not finish is left out.

    Args:
        path: a CSV table in UTF-8, or Parquet if the name ends in .parquet.

    Returns:
        the table; figures are floats, NaN where there are none; `area` is NaN for the soft mask; texts are
        never missing, but may be empty.

    Raises:
        DataError: the file is missing, empty or no results file, lacks a column, or names a sound twice.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "results.csv"
    ...     _ = file.write_text(",".join(_NEEDED) + "\\n" + "corrected,stft,clean,lmac,0,dog,dog,dog,,0,"
    ...                         ",100,0,50,0.7,1,0.9,8,0.1\\n" + "corrected,stft,cl")
    ...     read_results(file)[["condition", "method", "AI", "FF"]]
      condition method     AI   FF
    0     clean   lmac  100.0  0.7
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "the results of an evaluation", "check the name")
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        given = (
            f"{path} is no results file: it lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}"
        )
        raise DataError(given, "a table with one row per sound and method", "pass what evaluate wrote")
    if table.empty:
        raise DataError(f"{path} has no finished row", "at least one", "run the evaluation")
    return _checked(table, path)


def _read_csv(path: Path) -> DataFrame:
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole_lines = text[: text.rfind("\n") + 1]
        # Only figures may be missing: a class may well be called "None".
        missing = {name: ["", "nan", "NaN"] for name in ("seed", "area", *_FIGURES)}
        texts = dict.fromkeys((*_TEXTS, *_OTHER_TEXTS), str)
        return pd.read_csv(
            io.StringIO(whole_lines), dtype=texts, na_values=missing, keep_default_na=False, low_memory=False
        )
    except (OSError, ValueError) as error:  # pandas' and Unicode's errors are ValueErrors
        what = str(error) if path.stat().st_size else "it is empty"
        raise DataError(f"{path} cannot be read: {what}", "a CSV table in UTF-8") from error


def _read_parquet(path: Path) -> DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        given = f"{path} cannot be read without pyarrow"
        raise DataError(given, fix="install it with pip install 'earmark[parquet]'") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "a Parquet table") from error


def _checked(table: DataFrame, path: Path) -> DataFrame:
    """Give every column its type, and see that each sound is named, and named once per method."""
    table = table.assign(**{name: table[name].fillna("").astype(str) for name in (*_TEXTS, *_OTHER_TEXTS)})
    table = table.reindex(columns=[*table, *(name for name in _FIGURES if name not in table)])
    for name in ("seed", "area", *_FIGURES):
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
        wrong = numbers.isna() & (table[name].notna() | (name == "seed"))
        if wrong.any():
            _refuse(table, path, name, wrong, "a number")
        table[name] = numbers
    for name in _TEXTS:
        if (table[name] == "").any():
            _refuse(table, path, name, table[name] == "", "a name")
    twice = table.duplicated([*_BLOCK, *_SOUND[:2], "method"])
    if twice.any():
        _refuse(
            table, path, "sound", twice, "each sound once per method", " again, with the same seed and method"
        )
    return table


def _refuse(
    table: DataFrame, path: Path, column: str, wrong: pd.Series[bool], expected: str, how: str = ""
) -> None:
    row = int(wrong.to_numpy().argmax())
    given = f"{path}, row {row + 1}: {column} is {table[column].iloc[row]!r}{how}"
    raise DataError(given, expected, "correct the file, or evaluate anew")


def select(
    results: DataFrame,
    conditions: Sequence[str] = (),
    domain: str | None = None,
    protocol: str | None = None,
) -> DataFrame:
    """Return the rows of some conditions, one domain or one protocol; all of what is not given.

    Raises:
        RecipeError: the results have none of one of them; the message lists those there are.
    """
    wanted = {
        "protocol": [protocol] if protocol else [],
        "domain": [domain] if domain else [],
        "condition": list(conditions),
    }
    for column, values in wanted.items():
        there = list(results[column].unique())
        for value in values:
            if value not in there:
                given = f"the results have no {column} {value!r}"
                raise RecipeError(given, f"one of {', '.join(there)}", "pick one of these")
        if values:
            results = results[results[column].isin(values)]
    return results


def at_area(results: DataFrame, area: float | None = None) -> DataFrame:
    """Return the rows of masks binarised to one share of their bins, or of the soft masks.

    Raises:
        RecipeError: the results have none; the message lists the areas there are.
    """
    areas = results["area"]
    chosen = areas.isna() if area is None else pd.Series(np.isclose(areas, area), index=results.index)
    if not chosen.any():
        there = [
            *(["soft"] if areas.isna().any() else []),
            *(f"{a:g}" for a in sorted(areas.dropna().unique())),
        ]
        given = "the results have no soft masks" if area is None else f"the results have no area {area:g}"
        raise RecipeError(given, f"one of {', '.join(there)}", "choose the area among these")
    return results[chosen]


def summarise(results: DataFrame, reference: str = "lmac", resamples: int = 2000, seed: int = 0) -> DataFrame:
    """Average every figure over sounds and seeds, and say how sure that is and what differs.

    The intervals are 95 % percentile intervals of a bootstrap over clips: all that was made of a clip,
    its mixtures and seeds, is drawn together, as these do not vary independently. All methods of a block
    get the same draws. A method is compared with the reference on the sounds for which neither failed.
    What speaks of the source (share, SI-SDR) is averaged over the sounds decided for the source's class.

    Args:
        results: as `read_results` gives them, possibly fewer rows.
        reference: the method that the others are compared with; where a block lacks it, nothing is.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        one row per block (protocol, domain, area, condition), method and metric, in the order of the results
        and of `BETTER`, with

        - mean, lo, hi: AI, AD, AG in %; lo and hi are NaN for fewer than `FEWEST_CLIPS` clips;
        - n, clips, failed: sounds averaged over, clips that they were made of, sounds that failed;
        - difference, diff_lo, diff_hi, compared: to the reference, and on how many sounds;
        - significant: whether the interval of the difference excludes 0;
        - published: NaN, until `earmark.evaluation.published.add_published` fills it.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    blocks = results.reset_index(drop=True).groupby(_BLOCK, sort=False, dropna=False)
    summary = pd.concat([_summary(rows, reference, resamples, seed) for _, rows in blocks], ignore_index=True)
    first = [*_BLOCK, "method", "metric"]
    return summary[[*first, *(name for name in summary if name not in first)]]


def _summary(rows: DataFrame, reference: str, resamples: int, seed: int) -> DataFrame:
    """Summarise one block."""
    methods = list(rows["method"].unique())
    figures = _figures(rows)
    metrics = [name for name in BETTER if name in PAPER_METRICS or figures[name].notna().any()]
    columns = pd.MultiIndex.from_product([methods, metrics], names=["method", "metric"])
    table = figures.pivot(index=_SOUND, columns="method", values=metrics).swaplevel(axis=1)
    table = table[columns].set_axis(columns, axis=1)
    draws = _draws(table.index.get_level_values("clip").nunique(), resamples, seed)
    summary = _intervals(table, draws)
    failed = figures.groupby("method")["failed"].sum().to_dict()
    summary["failed"] = summary.index.get_level_values("method").map(failed)
    # The reference's figures, as often as there are methods; NaN throughout where there is no reference.
    others = table.reindex(columns=[(reference, metric) for _, metric in columns])
    difference = _intervals(table - others.to_numpy(), draws)
    summary["difference"] = difference["mean"]
    summary["diff_lo"], summary["diff_hi"] = difference["lo"], difference["hi"]
    summary["compared"] = difference["n"]
    summary["significant"] = (difference["lo"] > 0) | (difference["hi"] < 0)
    block = {name: rows[name].iloc[0] for name in _BLOCK}
    return summary.assign(published=np.nan, **block).reset_index()


def _figures(rows: DataFrame) -> DataFrame:
    """Leave nothing of failed rows, and what speaks of the source only where its class was decided."""
    right = rows["target"] == rows["label"]
    failed = rows["error"] != ""
    figures = rows[_FIGURES].replace([np.inf, -np.inf], np.nan)
    figures[_ABOUT_SOURCE] = figures[_ABOUT_SOURCE].where(right)
    figures = figures.assign(accuracy=right.astype(float)).mask(failed)
    return rows[[*_SOUND, "method"]].join(figures).assign(failed=failed)


def _draws(clips: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """Draw clips with replacement, (resamples, clips): how often each clip is in each sample."""
    return np.random.default_rng(seed).multinomial(clips, np.full(clips, 1 / clips), resamples).astype(float)


def _intervals(table: DataFrame, draws: NDArray[np.float64]) -> DataFrame:
    """Return mean, lo, hi, n and clips of each column; missing values count for nothing."""
    by_clip = table.groupby(level="clip")
    sums, counts = by_clip.sum(), by_clip.count()
    means = DataFrame(draws @ sums.to_numpy()) / DataFrame(draws @ counts.to_numpy())
    clips = (counts > 0).sum()
    ends = np.where(clips < FEWEST_CLIPS, np.nan, means.quantile([0.025, 0.975]))
    values = {"mean": table.mean(), "lo": ends[0], "hi": ends[1], "n": table.count(), "clips": clips}
    return DataFrame(values, index=table.columns)
