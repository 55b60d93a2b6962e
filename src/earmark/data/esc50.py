"""ESC-50 and its subset ESC-10, in the layout their author gave them."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from earmark.data.clips import Clip
from earmark.errors import DataError

_COLUMNS = ("filename", "fold", "target", "category")
_LAYOUT = "meta/esc50.csv and the folder audio/ in it"


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
        DataError: no such table, a column is missing, a fold is not an integer, a label is unknown, a file
            is missing, or no clip is left.

    Source: Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015.
    """
    table = Path(root) / "meta" / "esc50.csv"
    clips = list(_rows(table, Path(root) / "audio"))
    _check_labels(clips, labels, table)
    kept = [
        clip
        for clip in clips
        if (folds is None or clip.fold in folds) and (labels is None or clip.label in labels)
    ]
    if not kept:
        there = f"folds {sorted({clip.fold or 0 for clip in clips})} and labels {_names(clips)}"
        raise DataError(f"{table} has no clip of folds {folds} and labels {labels}; it has {there}")
    _check_files(kept)
    return kept


def _rows(table: Path, folder: Path) -> Iterator[Clip]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(reader.fieldnames or (), table)
            for row in reader:
                yield Clip(
                    folder / row["filename"], row["category"], _fold(row["fold"], table, reader.line_num)
                )
    except FileNotFoundError as error:
        raise DataError(f"{table} does not exist", _LAYOUT, "pass the data set's top folder") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}", "a CSV table in UTF-8") from error


def _fold(text: str | None, table: Path, line: int) -> int:
    try:
        return int(text or "")
    except ValueError as error:
        raise DataError(
            f"{table}, line {line}: fold is {text!r}", "an integer", "correct the table"
        ) from error


def _check_columns(names: Collection[str], table: Path) -> None:
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        given = f"{table} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}"
        raise DataError(given, ", ".join(_COLUMNS), "use ESC-50's own table")


def _check_labels(clips: list[Clip], labels: Collection[str] | None, table: Path) -> None:
    known = {clip.label for clip in clips}
    for label in labels or ():
        if label not in known:
            raise DataError(f"{table} has no label {label!r}", f"some of {_names(clips)}")


def _check_files(clips: list[Clip]) -> None:
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if missing:
        given = f"{len(missing)} of {len(clips)} clips are missing, the first is {missing[0]}"
        raise DataError(given, "every file of the table in audio/", "download the data set again")


def _names(clips: list[Clip]) -> str:
    return ", ".join(sorted({clip.label for clip in clips}))
