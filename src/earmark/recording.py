"""Recordings of hours: explained window by window straight to disk, in the memory of a few windows."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from earmark import __version__, audio
from earmark.audio import named
from earmark.errors import EarmarkError
from earmark.explaining import Request, batched
from earmark.explanation import (
    caption_note,
    is_mixed,
    new_figure,
    several_to_dict,
    spans_of,
    values_to_dict,
    write_figure,
    write_json,
)
from earmark.gathering import Finding, Tally, failed, not_finite
from earmark.pictures import COLUMNS, Caption, Columns, draw, draw_contrast
from earmark.regions import Grid
from earmark.saving import harmless, publish, reserved, safe_stem, stems_of_labels, telling
from earmark.tape import Tape, Track, begun, claim, note
from earmark.windowing import Window

Progress = Callable[[int, "int | None"], None]
"""Told how many windows are done, and of how many if that is known."""

_COLUMNS_A_WINDOW = 16  # where the length is not known beforehand
_LONGEST_KEY = 40  # bytes of it in a name


@dataclass(frozen=True)
class Recorded:
    """What was written of a recording.

    Args:
        values: what STEM.json says.
        files: all paths, the JSON's last.
    """

    values: dict[str, Any]
    files: list[Path]


def explain_recording(
    request: Request,
    path: str | Path,
    folder: str | Path,
    stem: str | None = None,
    *,
    contrast: bool = False,
    key: str | None = None,
    progress: Progress | None = None,
) -> Recorded:
    """Explain a file longer than a window, and write what `Explanation.save` writes as it goes.

    Beside those files there is STEM.timeline.csv, and the picture is an overview. For several classes the
    names have the label after the stem, as in `earmark.explanation.save_several`. Until all is done, what is
    finished lies in a hidden folder beside; a stopped run is taken up from there by the same call, and ends
    as an unbroken one does.

    Args:
        request: what `earmark.api.prepare` returns.
        path: a sound file.
        folder: made if missing; files of these names in it are replaced.
        stem: how the names begin; the file's if not given.
        contrast: whether to draw several classes in one picture.
        key: what tells this request from others, see `identify`; also written to the JSON as "request".
        progress: called after each batch of windows.

    Raises:
        AudioError: a file that cannot be used, or is silent.
        ModelError: the classifier or the method fails, or gives no finite numbers.
        OutputError: the folder cannot be written, or another run is at work on these files.
    """
    path, folder = Path(path), Path(folder)
    stem = harmless(stem) if stem else safe_stem(named(path))
    key = identify(request, path) if key is None else key
    # The key, as another recording of this name may have been stopped before.
    parts = folder / f".{stem}.{harmless(key, _LONGEST_KEY)}.part"
    work = _Work(request.quick(), path, stem, contrast, key)
    with telling(folder, stem):
        folder.mkdir(parents=True, exist_ok=True)
        with reserved(folder, stem):
            try:
                recorded = work.run(parts, folder, progress)
            except _HopelessError as error:
                shutil.rmtree(parts, ignore_errors=True)
                raise error.why from None
            except EarmarkError:
                if not begun(parts):
                    shutil.rmtree(parts, ignore_errors=True)
                raise
            shutil.rmtree(parts, ignore_errors=True)
    return recorded


def identify(request: Request, path: str | Path, **more: Any) -> str:
    """Return what tells a request for a file from all others, 16 hexadecimal digits.

    Args:
        request: the model counts by its name alone.
        path: the file counts by its name, its size and when it was last changed.
        more: what else makes a difference.

    Raises:
        AudioError: there is no such file, or it may not be read.
    """
    audio.check_file(Path(path))
    stat = Path(path).stat()
    wanted = {
        "input": [named(path), stat.st_size, stat.st_mtime_ns],
        "model": request.model.name,
        "method": request.method,
        "targets": request.targets,
        "top": request.top,
        "scores": [request.scores, request.check],
        "hard": [request.threshold, request.area],
        "windows": asdict(request.windows),
        "earmark": __version__,
        **more,
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def read_short(path: str | Path, sample_rate: int, longest: int) -> audio.Waveform | None:
    """Read a sound as `earmark.audio.read` does, but return None if it has more than so many samples.

    Raises:
        AudioError: as `earmark.audio.read`.
    """
    blocks, length = [], 0
    for block in audio.stream(path, sample_rate):
        blocks.append(block)
        length += len(block)
        if length > longest:
            return None
    waveform = np.concatenate(blocks)
    audio.check(waveform, sample_rate, named(path))
    return waveform


class _HopelessError(Exception):
    """What a later run would end in as well, so that nothing need be kept for it."""

    def __init__(self, why: EarmarkError) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True)
class _Work:
    """One recording on its way."""

    request: Request
    path: Path
    stem: str
    contrast: bool
    key: str

    @property
    def rate(self) -> int:
        return self.request.classifier.spectrogram.sample_rate

    def windows(self) -> Iterator[Window]:
        return self.request.windows.cut(audio.stream(self.path, self.rate))

    def run(self, parts: Path, folder: Path, progress: Progress | None) -> Recorded:
        notes = claim(parts, self.key)
        targets = self._targets(parts, notes)
        notes = {"targets": targets} if self.request.top else {}
        seconds = audio.duration(self.path)
        total = None if seconds is None else self.request.windows.count(round(seconds * self.rate))
        with closing(self._taken_up(parts, total, notes)) as tape:
            for batch in batched(islice(self.windows(), tape.done, None), self.request.at_once):
                findings = self.request.findings([(window, targets) for window in batch])
                for window, finding in zip(batch, findings):
                    tape.add(window, self._checked(finding), self.rate)
                tape.commit()
                if progress:
                    progress(tape.done, total)
            if not tape.tally.heard:
                raise _HopelessError(audio.silent(named(self.path), tape.end))
            for track in tape.tracks:
                track.end()
            return self._publish(tape, parts / "finished", folder)

    def _checked(self, finding: Finding | Exception) -> Finding:
        if isinstance(finding, Exception):
            raise failed(self.request, named(self.path), finding)
        if error := not_finite(self.request, named(self.path), finding):
            raise _HopelessError(error)
        return finding

    def _taken_up(self, parts: Path, total: int | None, notes: Mapping[str, Any]) -> Tape:
        """Return what an earlier run left, or an empty tape if that is damaged."""
        tape = self._tape(parts, total)
        if tape.restore():
            return tape
        tape.close()
        shutil.rmtree(parts, ignore_errors=True)
        note(parts, self.key, **notes)
        return self._tape(parts, total)

    def _targets(self, parts: Path, notes: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return the classes to explain; the most probable ones are found by a first pass, once."""
        if self.request.top is None:
            return self.request.targets
        if "targets" not in notes:
            try:
                targets = self.request.most_probable(self.windows())
            except (EarmarkError, OSError):
                raise
            except Exception as error:  # the network may be anyone's
                raise failed(self.request, named(self.path), error) from error
            note(parts, self.key, targets=targets)
            return targets
        return None if notes["targets"] is None else tuple(notes["targets"])

    def _tape(self, parts: Path, total: int | None) -> Tape:
        request, settings = self.request, self.request.classifier.spectrogram.config
        grid = Grid(settings.hop_length / self.rate, self.rate / settings.n_fft, math.inf, self.rate / 2)
        columns = _COLUMNS_A_WINDOW if total is None else -(-COLUMNS // total)
        tracks = [
            Track(parts, number, request.windows, request.hard, grid, columns)
            for number in range(request.parts)
        ]
        return Tape(parts, tracks, Tally(request.classifier.labels, request.parts), self.key)

    def _publish(self, tape: Tape, finished: Path, folder: Path) -> Recorded:
        """Make all files, and then put them where they belong, the JSON last."""
        shutil.rmtree(finished, ignore_errors=True)
        finished.mkdir()
        told = [self._told(tape, number) for number in range(len(tape.tracks))]
        labels = [one["label"] for one in told]
        stems = stems_of_labels(self.stem, labels) if self.request.several else [self.stem]
        made: list[Path] = []
        for track, values, name in zip(tape.tracks, told, stems):
            made += self._sounds(track, tape.end, finished, name)
            if not self.contrast:
                made.append(self._picture(track, values, finished / f"{name}.png", tape.end))
            made.append(_write_csv(finished / f"{name}.timeline.csv", values["timeline"]))
        if self.contrast:
            made.append(self._side_by_side(tape, told, finished / f"{self.stem}.contrast.png"))
        values = several_to_dict(told, self.contrast) if self.request.several else told[0]
        values = {**values, "request": self.key}
        made.append(write_json(finished / f"{self.stem}.json", values))
        return Recorded(values, publish(made, folder))

    def _told(self, tape: Tape, number: int) -> dict[str, Any]:
        """Return what `Explanation.to_dict` says."""
        request, track = self.request, tape.tracks[number]
        more = {
            "input": named(self.path),
            "model": request.model.name,
            "method": request.method,
            "kept": track.kept / (track.frames.position * request.classifier.spectrogram.bins),
            "threshold": request.threshold,
            "area": request.area,
            "sample_rate": self.rate,
            "samples": tape.end,
            "regions": track.regions(tape.end / self.rate),
            "spectrogram": request.classifier.spectrogram.config,
        }
        return values_to_dict(tape.tally.told(number, request.named) | more)

    def _sounds(self, track: Track, samples: int, folder: Path, name: str) -> list[Path]:
        paths = [folder / f"{name}.{ending}" for ending in ("listen.wav", "rest.wav")]
        subtype = audio.subtype_for(track.peaks.tolist())
        for channel, path in enumerate(paths):
            audio.write_blocks(path, track.sounds(channel), self.rate, samples, subtype)
        return paths

    def _columns(self, track: Track, samples: int) -> Columns:
        return track.picture(self.request.classifier.spectrogram.bins, samples / self.rate)

    def _picture(self, track: Track, values: Mapping[str, Any], path: Path, samples: int) -> Path:
        figure = new_figure()
        timeline = values["timeline"]
        draw(
            figure,
            self._columns(track, samples),
            _caption(values),
            samples / self.rate,
            self.rate / 2,
            spans_of([(row["start"], row["end"], row["decision"]) for row in timeline]),
        )
        return write_figure(path, figure)

    def _side_by_side(self, tape: Tape, told: list[dict[str, Any]], path: Path) -> Path:
        figure = new_figure(wide=len(told) > 1)
        sides = [
            (self._columns(track, tape.end), _caption(values)) for track, values in zip(tape.tracks, told)
        ]
        draw_contrast(figure, sides, tape.end / self.rate, self.rate / 2)
        return write_figure(path, figure)


def _caption(values: Mapping[str, Any]) -> Caption:
    words = caption_note(values["method"], values["model"], values["label"], values["decision"])
    mixed = is_mixed([row["label"] for row in values["timeline"]])
    return Caption(values["label"], values["probability"], values["kept"], words, mixed)


def _write_csv(path: Path, timeline: list[dict[str, Any]]) -> Path:
    """Write one row for each window; where all is silent there is no label."""
    names = ["start", "end", "label", "probability", "kept", "probability_in", "probability_out", "decision"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, **row["scores"], "probability": row["probability"]} for row in timeline)
    return path
