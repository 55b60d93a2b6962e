"""Sounds of an archive to listen to: the windows that are the most probable of each class."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd

from earmark import audio
from earmark.archive.parts import Parts
from earmark.errors import AudioError, EarmarkError
from earmark.explaining import Request
from earmark.explanation import Explanation
from earmark.saving import harmless, safe_stem


def save_best(request: Request, parts: Parts, folder: Path, most: int) -> Iterator[EarmarkError | Path]:
    """Explain the most probable windows of each class again, and write their sounds and pictures.

    Args:
        request: what the archive was explained with.
        parts: its table.
        folder: gets a folder for each class; what is there already is not done again.
        most: windows of a class.

    Yields:
        where a window's files begin, or why it failed.
    """
    for label, row in _best(parts, most):
        where = folder / harmless(label)
        start, file = round(row.start * request.sample_rate), Path(row.file)
        stem = f"{safe_stem(row.file)}-{row.start:.2f}"
        if (where / f"{stem}.json").exists():
            continue
        try:
            found = request((_window(request, file, start), request.sample_rate), audio.named(file))
            assert isinstance(found, Explanation)  # of one class
            found.save(where, stem, {"start": row.start})
            yield where / stem
        except EarmarkError as error:
            yield error


def _best(parts: Parts, most: int) -> Iterator[tuple[str, pd.Series]]:
    columns = ["file", "start", "label", "probability"]
    table = pd.concat([pd.read_parquet(path, columns=columns) for path in parts.paths()])
    heard = table.dropna(subset=["label", "probability"]).sort_values("probability", ascending=False)
    for label, group in heard.groupby("label"):
        for _, row in group.head(most).iterrows():
            yield str(label), row


def _window(request: Request, file: Path, start: int) -> audio.Waveform:
    windows = request.windows.cut(audio.stream(file, request.sample_rate))
    found = next(
        (one for one in islice(windows, start // request.windows.step, None) if one.start == start), None
    )
    if found is None:
        raise AudioError(f"{file} has no window at {start / request.sample_rate:.2f} s any more")
    return found.waveform
