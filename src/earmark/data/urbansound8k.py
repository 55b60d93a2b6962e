"""UrbanSound8K, in the layout its authors gave it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from earmark.data.clips import Clip
from earmark.data.tables import Layout, read_table

URBANSOUND8K = Layout(
    name="UrbanSound8K",
    table="metadata/UrbanSound8K.csv",
    file="slice_file_name",
    label="class",
    columns=("slice_file_name", "fold", "class"),
    folder="fold{fold}/",
    folders="the folders audio/fold1 … audio/fold10",
    origin="UrbanSound8K (Salamon et al., A Dataset and Taxonomy for Urban Sound Research, ACM MM 2014)"
    " is at urbansounddataset.weebly.com",
)


def read_urbansound8k(
    root: str | Path, folds: Collection[int] | None = None, labels: Collection[str] | None = None
) -> list[Clip]:
    """List the clips of UrbanSound8K or a set laid out like it.

    Args:
        root: the folder with `metadata/UrbanSound8K.csv` and `audio/fold1` … `audio/fold10`.
        folds: keep these folds only; None keeps all.
        labels: keep these classes only; None keeps all.

    Returns:
        The clips in the order of the table; a clip's name begins with its fold's folder.

    Raises:
        DataError: as `earmark.data.tables.read_table` does.

    Source: Salamon et al., A Dataset and Taxonomy for Urban Sound Research, ACM MM 2014.
    """
    return read_table(root, URBANSOUND8K, folds, labels)
