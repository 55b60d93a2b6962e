"""The file of the checks: one row per figure, beside the rows of an evaluation."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pandas import DataFrame

from earmark.errors import DataError
from earmark.evaluation.results import Layout, read_rows
from earmark.sanity.base import Row

DONE = "seconds"
"""The figure that ends the rows of a step: how long it took. A step without it was not finished."""

KEY = ("check", "method", "part", "variant", "level", "seed", "sound", "figure")
SAME = ("model", "earmark", "torch", "recipe")
LAYOUT = Layout(
    what="sanity check",
    key=KEY,
    columns=(*KEY, "value", "error", *SAME, "settings"),
    same=SAME,
    group="check",
    agrees="settings",
    numbers=("value",),
)


def read_checks(path: Path) -> DataFrame:
    """Read the rows of all checks: the columns of `KEY` as text (seed as a number), value, and error.

    Raises:
        DataError: the file is missing, or holds no checks of this version.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing", "what `earmark sanity` wrote", "run it first")
    frame = DataFrame(list(read_rows(path, LAYOUT)), columns=list(LAYOUT.columns))
    return frame.assign(value=pd.to_numeric(frame["value"]), seed=frame["seed"].astype(int))


def of_check(frame: DataFrame, name: str) -> DataFrame:
    """Return the figures of one check, without those of failed steps and without times."""
    return frame[(frame["check"] == name) & (frame["error"] == "") & (frame["figure"] != DONE)]


def frame_of(rows: list[tuple[str, str, Row]]) -> DataFrame:
    """Lay rows out as `read_checks` does, for a check that was run without a file.

    Args:
        rows: method, part, and the row.

    >>> frame_of([("lmac", "", Row("FF", 0.5, "dog"))])[["method", "figure", "value"]].values.tolist()
    [['lmac', 'FF', 0.5]]
    """
    return DataFrame([{"method": method, "part": part, **row._asdict()} for method, part, row in rows])
