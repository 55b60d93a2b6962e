"""On one machine: torch's DataLoader reads in processes of its own, and this one explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch.utils.data import DataLoader

from earmark.archive.parts import Parts
from earmark.archive.rows import Explaining, Row
from earmark.archive.windows import Piece, Pieces
from earmark.errors import EarmarkError

BATCH = 8
"""Windows that are explained at once."""

_ROWS_A_PART = 500
_MOST_DEATHS = 10  # of readers, after each of which all goes on

Report = Callable[[str, int, bool], None]
"""Called with a recording, its windows, and whether something in it failed."""


class DyingError(EarmarkError):
    """Readers die again and again."""


def explain_here(
    explaining: Explaining,
    files: Sequence[Path],
    parts: Parts,
    workers: int = 0,
    report: Report | None = None,
    died: Callable[[str], None] | None = None,
) -> None:
    """Explain recordings, and write a part whenever enough are whole.

    A reader that is killed loses nothing: what it had not finished is read again.

    Args:
        explaining: what makes rows of windows.
        files: the recordings.
        parts: where rows go; what is in there is not done again.
        workers: processes that read; none reads in this one.
        report: called after each recording.
        died: called with what happened to a reader.

    Raises:
        DyingError: readers die again and again.
        OutputError: the parts cannot be written.
    """
    deaths = 0
    while left := _left(files, parts):
        try:
            _explain(explaining, left, parts, workers, report)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            deaths += 1
            if deaths > _MOST_DEATHS:
                fix = "see whether memory runs out, or take fewer --workers"
                raise DyingError(f"{deaths} readers have died", fix=fix) from error
            if died:
                died(str(error).splitlines()[0])


def _left(files: Sequence[Path], parts: Parts) -> list[Path]:
    from earmark.audio import named

    done = parts.done()
    return [file for file in files if named(file) not in done]


def _explain(
    explaining: Explaining, files: Sequence[Path], parts: Parts, workers: int, report: Report | None
) -> None:
    request = explaining.request
    pieces = Pieces(files, request.sample_rate, request.windows)
    loader = DataLoader(
        pieces, batch_size=BATCH, num_workers=workers, collate_fn=list, prefetch_factor=4 if workers else None
    )
    ready: list[Row] = []
    try:
        for name, rows in _whole_recordings(explaining, loader):
            ready += rows
            if report:
                report(name, len(rows), any(row["error"] for row in rows))
            if len(ready) >= _ROWS_A_PART:
                parts.add(ready)
                ready = []
    finally:
        # Whatever ends it: what is whole is kept.
        if ready:
            parts.add(ready)


def _whole_recordings(explaining: Explaining, loader: DataLoader[Piece]) -> Iterator[tuple[str, list[Row]]]:
    """Yield a recording with all its rows when its last window is explained; readers come in turn."""
    begun: dict[str, list[Row]] = {}
    for batch in loader:
        for piece, row in zip(batch, explaining(batch)):
            begun.setdefault(piece.file, []).append(row)
            if piece.last:
                yield piece.file, begun.pop(piece.file)
