"""VGGSound's own layout: a table without a header, and a file for each of its rows."""

from __future__ import annotations

import csv
from pathlib import Path

from earmark.data.clips import Clip
from earmark.errors import DataError

TABLE = "vggsound.csv"
_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
_COLUMNS = 4


def is_vggsound(root: Path) -> bool:
    """Whether a folder has VGGSound's table."""
    return (root / TABLE).is_file()


def read_vggsound(root: str | Path, split: str | None = "train") -> list[Clip]:
    """List the clips of a split that are there; a tenth of VGGSound's videos are gone from the web.

    Args:
        root: the folder of ``vggsound.csv`` (id, start in seconds, label, split; no header) and the sounds,
            ``ID_SSSSSS.wav`` (or .flac, .ogg, .opus, .mp3), beside it or in ``audio/``.
        split: "train" or "test"; None takes both.

    Returns:
        the clips in the order of the table.

    Raises:
        DataError: no such table, a row is not as described, or no clip is there.

    Source: Chen et al., VGGSound: A Large-Scale Audio-Visual Dataset, ICASSP 2020.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     _ = (Path(root) / TABLE).write_text('abc,30,"dog, barking",train\\ngone,1,rain,train\\n')
    ...     (Path(root) / "abc_000030.flac").touch()
    ...     [(clip.name, clip.label) for clip in read_vggsound(root)]
    [('abc_000030', 'dog, barking')]
    """
    table = Path(root) / TABLE
    folders = [folder for folder in (Path(root) / "audio", Path(root)) if folder.is_dir()]
    # One look at each folder, and not five at each of 200,000 names.
    there = {path.stem: path for folder in folders for path in folder.iterdir() if path.suffix in _ENDINGS}
    rows = [row for row in _rows(table) if split is None or row[3] == split]
    clips = [
        Clip(there[stem], label) for stem, label in ((_stem(row), row[2]) for row in rows) if stem in there
    ]
    if not clips:
        given = f"{root} has none of the {len(rows)} sounds of {TABLE}'s split {split!r}"
        raise DataError(given, "ID_SSSSSS.wav beside it or in audio/", "see that the names have the start")
    return clips


def _stem(row: list[str]) -> str:
    return f"{row[0]}_{int(row[1]):06d}"


def _rows(table: Path) -> list[list[str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}", "VGGSound's own table") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != _COLUMNS or not row[1].isdecimal():
            given = f"{table}, line {number}: {','.join(row)[:80]!r}"
            raise DataError(given, "id, start in seconds, label, split", "use VGGSound's own table")
    return rows
