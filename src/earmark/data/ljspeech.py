"""Speech in LJSpeech's layout, to mix with other sounds."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from earmark.data.noise import read_interferer
from earmark.errors import DataError

_ORIGIN = "LJSpeech (Ito & Johnson, The LJ Speech Dataset, 2017) is at keithito.com/LJ-Speech-Dataset"


def read_ljspeech(root: str | Path, sample_rate: int, most: int | None = None) -> dict[str, Tensor]:
    """Read the utterances of LJSpeech, or of a set laid out like it, into memory, as one channel each.

    Args:
        root: the folder with `metadata.csv` (id|text|normalised text; no header, no quoting) and `wavs/`.
        sample_rate: in Hz; the files may have any rate and number of channels.
        most: read the first this many only, as all of LJSpeech takes 5.5 GB at 16 kHz; None reads all.

    Returns:
        per id, in the order of `metadata.csv`: float32 (samples,), of differing lengths.

    Raises:
        DataError: no such table, a line of it has no id or no text column, there is no line, or a file is
            missing or cannot be read.

    Source: Ito & Johnson, The LJ Speech Dataset, 2017.
    """
    table = Path(root) / "metadata.csv"
    paths = {name: Path(root) / "wavs" / f"{name}.wav" for name in _ids(table)[:most]}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        given = f"{len(missing)} of {len(paths)} utterances are missing, the first is {missing[0]}"
        raise DataError(given, f"every id of {table} in wavs/", f"download the data set again; {_ORIGIN}")
    return {name: read_interferer(path, sample_rate) for name, path in paths.items()}


def _ids(table: Path) -> list[str]:
    try:
        lines = table.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        expected, fix = "metadata.csv and the folder wavs/ in it", "pass the data set's top folder"
        raise DataError(f"{table} does not exist", expected, f"{fix}; {_ORIGIN}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read: {error}", "a table in UTF-8") from error
    ids = [_id(line, f"{table}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not ids:
        raise DataError(f"{table} has no line", "id|text|normalised text", _ORIGIN)
    return ids


def _id(line: str, place: str) -> str:
    # Not csv's work: quotes are part of the text, and what is no quoting cannot be escaped either.
    name, separator, _ = line.partition("|")
    if not name or not separator:
        raise DataError(f"{place} is {line!r}", "id|text|normalised text", "correct the table")
    return name
