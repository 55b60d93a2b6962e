"""The table as it grows: Parquet parts of whole recordings, each there entirely or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from earmark.archive.rows import Row, schema
from earmark.errors import DataError
from earmark.files import whole, write_text

_WISH = "archive.json"
_FOLDER = "windows"


class Parts:
    """The parts in a folder.

    Args:
        folder: of the archive's results; the parts lie in ``windows/`` in it.
        wish: what tells this archive from one of another model or method; kept in ``archive.json``.

    Raises:
        DataError: the folder holds the results of something else, or they cannot be read.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, wish: dict[str, object]) -> None:
        self.folder = folder / _FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        note = folder / _WISH
        known = json.loads(note.read_text(encoding="utf-8")) if note.exists() else None
        if known is not None and known != wish:
            changed = ", ".join(sorted(name for name in wish if known.get(name) != wish[name]))
            given = f"{folder} holds what was heard with another {changed}"
            raise DataError(given, fix="choose another --out, or ask for the same")
        write_text(note, json.dumps(wish, indent=2) + "\n")

    def done(self) -> set[str]:
        """Return which recordings are in the parts; broken parts there are none, as each is written whole."""
        import pyarrow.parquet as pq

        files: set[str] = set()
        for path in self.paths():
            try:
                files |= set(pq.read_table(path, columns=["file"])["file"].to_pylist())
            except (OSError, ValueError, KeyError) as error:
                fix = "remove it; its recordings are explained again"
                raise DataError(f"{path} cannot be read: {error}", "a part of the table", fix) from error
        return files

    def paths(self) -> list[Path]:
        """Return the parts, in the order in which they came."""
        return sorted(self.folder.glob("part-*.parquet"))

    def add(self, rows: Sequence[Row], name: str = "") -> Path:
        """Write rows of whole recordings as a part.

        Args:
            rows: as `Explaining` returns them.
            name: of the part; a number if not given, for one writer alone.

        Raises:
            OutputError: the folder cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"part-{name or f'{len(self.paths()):06d}'}.parquet"
        with whole(path) as temporary:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=schema()), temporary)
        return path
