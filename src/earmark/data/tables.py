"""Data sets whose clips are the rows of a CSV table, each with a label and a fold."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from earmark.data.clips import Clip, choose, name_of
from earmark.errors import DataError

AUDIO = "audio"
"""The folder of all sounds, below the top folder."""


@dataclass(frozen=True)
class Layout:
    """How the authors of a data set laid it out.

    Args:
        name: the data set's.
        table: the path of its CSV table below the top folder; a column "fold" is in it.
        file: the column of file names.
        label: the column of class names.
        columns: all columns that the table must have.
        folder: where in audio/ a file lies, "" or ending in "/"; "{fold}" stands for the clip's fold.
        folders: the folders of sound, for people.
        origin: who made the set and where to get it, for people.
    """

    name: str
    table: str
    file: str
    label: str
    columns: tuple[str, ...]
    folder: str
    folders: str
    origin: str


def read_table(
    root: str | Path,
    layout: Layout,
    folds: Collection[int] | None = None,
    labels: Collection[str] | None = None,
) -> list[Clip]:
    """List the clips of a data set that has a table.

    Args:
        root: its top folder.
        layout: what is where.
        folds: keep these folds only; None keeps all.
        labels: keep these labels only; None keeps all.

    Returns:
        The clips in the order of the table.

    Raises:
        DataError: no such table, a column is missing, a fold is not an integer, a file name or label is
            empty, a label is unknown, a file is missing, or no clip is left.
    """
    table = Path(root) / layout.table
    kept = choose(list(_rows(table, Path(root) / AUDIO, layout)), table, folds, labels)
    _check_files(kept, layout)
    return kept


def _rows(table: Path, folder: Path, layout: Layout) -> Iterator[Clip]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(reader.fieldnames or (), table, layout)
            for row in reader:
                yield _clip(row, folder, layout, f"{table}, line {reader.line_num}")
    except FileNotFoundError as error:
        fix = f"pass the data set's top folder; {layout.origin}"
        given = f"{table} does not exist"
        raise DataError(given, f"{layout.table} and {layout.folders} in it", fix) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}", "a CSV table in UTF-8") from error


def _clip(row: Mapping[str, str | None], folder: Path, layout: Layout, place: str) -> Clip:
    fold = _fold(row["fold"], place)
    label = _text(row, layout.label, place)
    inside = layout.folder.format(fold=fold) + _text(row, layout.file, place)
    return Clip(folder / inside, label, fold, name_of(inside))


def _fold(text: str | None, place: str) -> int:
    try:
        return int(text or "")
    except ValueError as error:
        raise DataError(f"{place}: fold is {text!r}", "an integer", "correct the table") from error


def _text(row: Mapping[str, str | None], column: str, place: str) -> str:
    text = row[column]
    if not text:
        raise DataError(f"{place}: {column} is {text!r}", "a name", "correct the table")
    return text


def _check_columns(names: Collection[str], table: Path, layout: Layout) -> None:
    missing = [name for name in layout.columns if name not in names]
    if missing:
        given = f"{table} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}"
        raise DataError(given, ", ".join(layout.columns), f"use {layout.name}'s own table")


def _check_files(clips: list[Clip], layout: Layout) -> None:
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if missing:
        given = f"{len(missing)} of {len(clips)} clips are missing, the first is {missing[0]}"
        fix = f"download the data set again; {layout.origin}"
        raise DataError(given, f"every file of the table in {AUDIO}/", fix)
