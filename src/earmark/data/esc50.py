"""ESC-50 and its subset ESC-10, in the layout their author gave them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from earmark.data.clips import Clip
from earmark.data.tables import Layout, read_table

ESC50 = Layout(
    name="ESC-50",
    table="meta/esc50.csv",
    file="filename",
    label="category",
    columns=("filename", "fold", "target", "category"),
    folder="",
    folders="the folder audio/",
    origin="ESC-50 (Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015)"
    " is at github.com/karolpiczak/ESC-50",
)


def read_esc50(
    root: str | Path, folds: Collection[int] | None = None, labels: Collection[str] | None = None
) -> list[Clip]:
    """List the clips of ESC-50, ESC-10 or a set laid out like them.

    Args:
        root: the folder with `meta/esc50.csv` and `audio/`; the files are those the column `filename` names.
        folds: keep these folds only; None keeps all.
        labels: keep these categories only; None keeps all.

    Returns:
        The clips in the order of the table.

    Raises:
        DataError: as `earmark.data.tables.read_table` does.

    Source: Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015.
    """
    return read_table(root, ESC50, folds, labels)
