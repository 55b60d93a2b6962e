"""The windows of many recordings, read by processes beside the one that explains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import IterableDataset, get_worker_info

from earmark import audio
from earmark.errors import EarmarkError
from earmark.windowing import Windows

_SLACK = 0.01
"""A last window that adds less than this share of one is left out: many a clip is a millisecond too long."""


class Piece(NamedTuple):
    """A window of a recording, or why it cannot be read.

    Args:
        file: the recording.
        start: the window's first sample.
        waveform: (samples,); None where there is an error.
        error: why the recording cannot be read, or "".
        last: whether this is the recording's last piece.
    """

    file: str
    start: int
    waveform: audio.Waveform | None
    error: str
    last: bool


class Pieces(IterableDataset[Piece]):
    """Every window of recordings; each worker of a DataLoader reads its own files.

    Args:
        files: the recordings.
        sample_rate: in Hz, of what the classifier hears.
        windows: how they are cut.
    """

    def __init__(self, files: Sequence[Path], sample_rate: int, windows: Windows) -> None:
        self.files, self.sample_rate, self.windows = list(files), sample_rate, windows

    def __iter__(self) -> Iterator[Piece]:
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        for file in self.files[first::step]:
            yield from pieces_of(file, self.sample_rate, self.windows)


def pieces_of(file: Path, sample_rate: int, windows: Windows) -> Iterator[Piece]:
    """Yield the windows of a recording; one that cannot be read to its end ends with an error."""
    name, before = audio.named(file), None
    try:
        end = 0
        for window in windows.cut(audio.stream(file, sample_rate)):
            if before is not None:
                if window.end - end < _SLACK * windows.length:
                    continue
                yield before
            end = window.end
            # A copy, as workers hand on whole buffers.
            before = Piece(name, window.start, window.waveform.copy(), "", last=False)
        if before is None:
            yield Piece(name, 0, None, "it holds no sound", last=True)
        else:
            yield before._replace(last=True)
    except EarmarkError as error:
        if before is not None:
            yield before
        yield Piece(name, 0, None, str(error), last=True)
