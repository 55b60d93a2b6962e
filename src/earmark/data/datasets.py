"""Any data set of labelled clips, whichever of the known layouts it has."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from earmark.data.clips import Clip
from earmark.data.esc50 import ESC50
from earmark.data.folder import class_folders, read_folder
from earmark.data.tables import AUDIO, Layout, read_table
from earmark.data.urbansound8k import URBANSOUND8K
from earmark.errors import DataError

_WITH_TABLE = (ESC50, URBANSOUND8K)


def read_clips(
    root: str | Path, folds: Collection[int] | None = None, labels: Collection[str] | None = None
) -> list[Clip]:
    """List the clips of a data set laid out as ESC-50, as UrbanSound8K, or with a folder per class.

    Args:
        root: its top folder.
        folds: keep these folds only; None keeps all.
        labels: keep these labels only; None keeps all.

    Returns:
        The clips in the order of the set's table; of their paths where each class has a folder.

    Raises:
        DataError: the folder has none of the layouts, folds are asked for that it does not have, or as
            `earmark.data.tables.read_table` and `earmark.data.folder.read_folder` do.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     (Path(root) / "rain").mkdir()
    ...     (Path(root) / "rain" / "roof.flac").touch()
    ...     [(clip.label, clip.fold, clip.name) for clip in read_clips(root)]
    [('rain', None, 'rain/roof')]
    """
    root = Path(root)
    if layout := _layout(root):
        return read_table(root, layout, folds, labels)
    _check_folders(root)
    if folds is not None:
        given = f"{root} has a folder per class, and so no folds to take {sorted(folds)} from"
        expected = "ESC-50's or UrbanSound8K's layout, whose tables tell the folds, as training needs folds"
        raise DataError(given, expected, "add such a table, or ask for no folds")
    return read_folder(root, labels)


def has_table(root: Path) -> bool:
    """Whether a folder has one of the layouts with a table, and so folds."""
    return _layout(root) is not None


def _layout(root: Path) -> Layout | None:
    """Return the layout with a table that a set has, None for a folder per class."""
    try:
        return next((layout for layout in _WITH_TABLE if _is(root, layout)), None)
    except OSError as error:
        raise DataError(
            f"{root} cannot be read: {error}", "a readable folder", "check its permissions"
        ) from error


def _is(root: Path, layout: Layout) -> bool:
    """Whether a set has a layout's table, or its folders, as then the table is lost and "audio" no class."""
    table = root / layout.table
    return table.exists() or (table.parent.is_dir() and (root / AUDIO).is_dir())


def _check_folders(root: Path) -> None:
    if class_folders(root):
        return
    tables = " nor ".join(str(root / layout.table) for layout in _WITH_TABLE)
    given = f"{root} holds no data set: there is neither {tables}, nor a folder with a sound file in it"
    if not root.is_dir():
        given = f"there is no folder {root}: {root / ESC50.table} does not exist, nor any other table"
    layouts = ", ".join(f"{layout.name}'s layout ({layout.table}, {AUDIO}/)" for layout in _WITH_TABLE)
    raise DataError(given, f"{layouts} or a folder per class", "pass a data set's top folder")
