"""Which recordings an archive holds: a list of files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from earmark.errors import DataError

COLUMN = "file"


def read_manifest(path: Path) -> tuple[list[Path], int]:
    """Read a list of recordings.

    Args:
        path: .txt with a file a line, or .csv or .parquet with a column "file". Relative names are meant from
            the list's own folder.

    Returns:
        the files, each once, in their order; and how many rows named one again.

    Raises:
        DataError: there is no such list, it has no such column, or it names no file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     listed = Path(folder) / "files.txt"
    ...     _ = listed.write_text("a.wav\\n\\nb.wav\\na.wav\\n")
    ...     files, again = read_manifest(listed)
    ...     [file.name for file in files], again
    (['a.wav', 'b.wav'], 1)
    """
    names = [name for name in _names(path) if name]
    if not names:
        raise DataError(f"{path} names no file", "one a line, or a row", "check the list")
    files = [path.parent / name for name in dict.fromkeys(names)]
    return files, len(names) - len(files)


def _names(path: Path) -> list[str]:
    try:
        if path.suffix.lower() not in (".csv", ".parquet"):
            return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError, ImportError) as error:  # pandas' and Unicode's errors are ValueErrors
        raise DataError(f"{path} cannot be read: {error}", "a list of files", "check the path") from error
    if COLUMN not in table:
        given = f"{path} has the columns {', '.join(map(str, table.columns))}"
        raise DataError(given, f"one named {COLUMN!r}", "rename the one that has the files")
    return [str(name).strip() for name in table[COLUMN]]
