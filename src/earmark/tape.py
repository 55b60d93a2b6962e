"""What is finished of a recording's explanation, on disk, from where a stopped run goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from earmark.explanation import Moment
from earmark.files import write_bytes, write_text
from earmark.gathering import Finding, Part, Tally
from earmark.pictures import COLUMNS, Columns
from earmark.regions import Grid, Region, find_regions, join_regions
from earmark.windowing import Window, Windows

_STATE = "state.safetensors"
_BLOCK = 1 << 16  # samples read back at once


class Track:
    """One explained class of a recording: it is stitched, and what is finished goes to two raw files.

    Args:
        folder: where the files are.
        number: of the class, for the files' names.
        windows: where the windows lie.
        hard: whether masks are 0 and 1.
        grid: how bins and frames lie.
        columns: of the picture for each window.
    """

    def __init__(
        self, folder: Path, number: int, windows: Windows, hard: bool, grid: Grid, columns: int
    ) -> None:
        self.windows, self.grid, self.columns = windows, grid, columns
        self.samples, self.frames = windows.sample_stitcher(), windows.frame_stitcher(hard)
        self.kept = self.energy = 0.0
        self.peaks = torch.zeros(2)  # of the kept part and the rest
        self.pieces: list[list[Region]] = []
        self.sound_file = _open(folder / f"{number}.sound.f32")
        self.columns_file = _open(folder / f"{number}.columns.f32")

    def add(self, window: Window, part: Part, magnitude: Tensor) -> None:
        """Add what was found in the next window."""
        rest = torch.from_numpy(window.waveform) - part.listenable
        self._sound(self.samples.add(window.start, torch.stack([part.listenable, rest])))
        stack = torch.stack([part.mask, magnitude])
        self.pieces.append(self._frames(self.frames.add(self.windows.first_frame(window), stack)))

    def end(self) -> None:
        """Write what is left after the last window."""
        self._sound(self.samples.end())
        self.pieces.append(self._frames(self.frames.end()))

    def regions(self, duration: float) -> list[Region]:
        """Return the finished regions of a sound of so many seconds, as `Explanation.regions` does."""
        return join_regions(self.pieces, self.energy, duration)

    def _sound(self, finished: Tensor) -> None:
        if finished.shape[-1]:
            self.peaks = self.peaks.maximum(finished.abs().amax(1))
            self.sound_file.write(finished.T.contiguous().numpy().tobytes())

    def _frames(self, finished: Tensor) -> list[Region]:
        """Write finished frames; a region's share is its energy, as that of the whole is not known yet."""
        count = finished.shape[-1]
        if not count:
            return []
        mask, magnitude = finished
        self.kept += float(mask.sum(dtype=torch.float64))
        wanted = max(1, round(self.columns * count * self.windows.hop / self.windows.step))
        columns = Columns.of(magnitude, mask, 1.0, wanted)
        pooled = torch.stack([columns.sound, columns.heard, columns.mask])
        self.columns_file.write(pooled.permute(2, 0, 1).contiguous().numpy().tobytes())
        energy = (mask * magnitude).double().numpy() ** 2
        total = float(energy.sum())
        self.energy += total
        first = (self.frames.position - count) * self.grid.seconds_per_frame
        found = find_regions(mask.numpy(), energy, replace(self.grid, start=first))
        return [replace(region, share=region.share * total) for region in found]

    def sounds(self, channel: int) -> Iterator[NDArray[np.float32]]:
        """Yield the finished kept part (0) or the rest (1) in blocks."""
        self.sound_file.seek(0)
        while block := self.sound_file.read(8 * _BLOCK):
            yield np.frombuffer(block, np.float32).reshape(-1, 2)[:, channel]

    def picture(self, bins: int, duration: float) -> Columns:
        """Return the finished columns, pooled to as many as a picture shows."""
        size = 3 * bins * 4
        there = self.columns_file.seek(0, 2) // size
        count = min(there, COLUMNS)
        pooled = np.zeros((3, bins, count), np.float32)
        for column in range(count):
            first, last = column * there // count, -(-(column + 1) * there // count)
            self.columns_file.seek(first * size)
            rows = np.frombuffer(self.columns_file.read((last - first) * size), np.float32)
            rows = rows.reshape(-1, 3, bins)
            pooled[:2, :, column], pooled[2, :, column] = rows[:, :2].max(0), rows[:, 2].mean(0)
        sound, heard, mask = torch.from_numpy(pooled).unbind()
        seconds = duration / count
        return Columns(sound, heard, mask, seconds, first=seconds / 2)

    def state(self) -> dict[str, Tensor]:
        """Return all that a later run needs to go on from here."""
        figures = [self.kept, self.energy, self.samples.position, self.frames.position]
        for file in (self.sound_file, self.columns_file):
            file.flush()
            figures.append(file.tell())
        tails = {"samples": self.samples.tail, "frames": self.frames.tail}
        return {name: tail.contiguous() for name, tail in tails.items() if tail is not None} | {
            "figures": torch.tensor(figures, dtype=torch.float64),
            "peaks": self.peaks,
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a state; what was written after it is dropped.

        Raises:
            ValueError: not all of what was written before it is there.
        """
        self.kept, self.energy, *places = state["figures"].tolist()
        self.samples.position, self.frames.position, sound, columns = map(int, places)
        self.samples.tail, self.frames.tail = state["samples"], state["frames"]
        self.peaks = state["peaks"]
        _cut(self.sound_file, sound)
        _cut(self.columns_file, columns)


class Tape:
    """The tracks of a recording and what was decided in its windows, kept so that a later run can go on.

    After each batch of windows `commit` makes all up to there count; what comes after it is done again.

    Args:
        folder: holds nothing else, and is removed in the end.
        tracks: one for each explained class.
        tally: what was decided.
        key: what the request is known by.
    """

    def __init__(self, folder: Path, tracks: Sequence[Track], tally: Tally, key: str) -> None:
        self.folder, self.tracks, self.tally = folder, tracks, tally
        self.key = torch.tensor(list(key.encode()), dtype=torch.uint8)
        self.done = 0
        self.end = 0
        self._journal = _open(folder / "journal.jsonl")

    def add(self, window: Window, finding: Finding, sample_rate: int) -> None:
        """Add what was found in the next window."""
        self.tally.add(window, finding, sample_rate)
        for track, part in zip(self.tracks, finding.parts):
            track.add(window, part, finding.magnitude)
        row = {
            "moments": [asdict(timeline[-1]) for timeline in self.tally.timelines],
            "regions": [[asdict(region) for region in track.pieces[-1]] for track in self.tracks],
        }
        self._journal.write(json.dumps(row).encode() + b"\n")
        self.done += 1
        self.end = window.end

    def commit(self) -> None:
        """Make all that was added count, also for a later run."""
        self._journal.flush()
        figures = torch.tensor([self.done, self.end, self.tally.heard, self._journal.tell()])
        state = {"figures": figures, "total": self.tally.total, "key": self.key}
        for number, track in enumerate(self.tracks):
            state |= {f"{number}.{name}": value for name, value in track.state().items()}
        write_bytes(self.folder / _STATE, save(state))

    def restore(self) -> bool:
        """Go on from the last commit, if there is one.

        Returns:
            False if what is there is damaged; the tape is then of no use, and all must be made anew.
        """
        if not (self.folder / _STATE).exists():
            return True
        try:
            self._restore(load((self.folder / _STATE).read_bytes()))
        # ValueError is also what is no JSON, and no text.
        except (SafetensorError, ValueError, KeyError, IndexError, TypeError):
            return False
        return True

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.done, self.end, self.tally.heard, end = state["figures"].tolist()
        self.tally.total = state["total"]
        if not torch.equal(state["key"], self.key):
            raise ValueError("another request's")
        _cut(self._journal, end)
        self._journal.seek(0)
        for line in self._journal:
            row = json.loads(line)
            for number, track in enumerate(self.tracks):
                self.tally.timelines[number].append(Moment(**row["moments"][number]))
                track.pieces.append([Region(**region) for region in row["regions"][number]])
        if len(self.tally.timelines[0]) != self.done:
            raise ValueError("windows are missing")
        for number, track in enumerate(self.tracks):
            prefix = f"{number}."
            track.restore({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})

    def close(self) -> None:
        """Close all files; the folder stays."""
        for track in self.tracks:
            track.sound_file.close()
            track.columns_file.close()
        self._journal.close()


def claim(folder: Path, key: str) -> dict[str, Any]:
    """Make a folder for a request, or take the one that an earlier run of the same request left.

    Args:
        folder: nobody else may be at work in it. What is in it is deleted if it is not this request's.
        key: what the request is known by.

    Returns:
        what an earlier run noted by `note`.
    """
    try:
        notes: dict[str, Any] = json.loads((folder / "request.json").read_text(encoding="utf-8"))
        if notes["key"] == key:
            return notes
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    note(folder, key)
    return {"key": key}


def begun(folder: Path) -> bool:
    """Return whether there is something in a folder to go on from."""
    return (folder / _STATE).exists()


def note(folder: Path, key: str, **values: Any) -> None:
    """Write down what a later run of the same request must know; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "request.json", json.dumps({"key": key, **values}))


def _cut(file: BinaryIO, end: int) -> None:
    """Drop what comes after a place."""
    if file.seek(0, os.SEEK_END) < end:
        raise ValueError(f"{file.name} is cut off")
    file.truncate(end)
    file.seek(end)


def _open(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")
