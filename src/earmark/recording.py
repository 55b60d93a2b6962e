"""Recordings of hours: explained window by window straight to disk, in the memory of a few windows."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from earmark import __version__, audio
from earmark.errors import AudioError, ModelError
from earmark.explaining import AT_ONCE, Request, batched, named
from earmark.explanation import (
    caption_note,
    is_mixed,
    moments_to_dicts,
    new_figure,
    several_to_dict,
    spans_of,
    write_figure,
    write_json,
)
from earmark.gathering import Tally, is_finite, not_finite
from earmark.pictures import COLUMNS, Caption, Columns, draw, draw_contrast
from earmark.regions import Grid
from earmark.saving import finite, finite_all, harmless, safe_stem, stems_of_labels, telling
from earmark.tape import Tape, Track, claim, note
from earmark.windowing import Window

Progress = Callable[[int, "int | None"], None]
"""Told how many windows are done, and of how many if that is known."""

_COLUMNS_A_WINDOW = 16  # where the length is not known beforehand


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
        ModelError: the classifier gives no finite numbers.
        OutputError: the folder cannot be written.
    """
    path, folder = Path(path), Path(folder)
    stem = harmless(stem) if stem else safe_stem(named(path))
    key = identify(request, path) if key is None else key
    parts = folder / f".{stem}.part"
    work = _Work(request.quick(), path, stem, contrast, key)
    try:
        with telling(folder, stem):
            folder.mkdir(parents=True, exist_ok=True)
            recorded = work.run(parts, folder, progress)
    except (AudioError, ModelError):
        shutil.rmtree(parts, ignore_errors=True)  # going on would end in the same
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
        "scores": request.scores,
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
    audio.check(waveform, sample_rate, str(path))
    return waveform


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
        seconds = audio.duration(self.path)
        total = None if seconds is None else self.request.windows.count(round(seconds * self.rate))
        with closing(self._tape(parts, total)) as tape:
            tape.restore()
            for batch in batched(islice(self.windows(), tape.done, None), AT_ONCE):
                findings = self.request.findings([(window, targets) for window in batch])
                for window, finding in zip(batch, findings):
                    if not is_finite(finding):
                        raise not_finite(self.request, named(self.path))
                    tape.add(window, finding, self.rate)
                tape.commit()
                if progress:
                    progress(tape.done, total)
            if not tape.tally.heard:
                raise audio.silent(named(self.path), tape.end)
            for track in tape.tracks:
                track.end()
            return self._publish(tape, parts / "finished", folder)

    def _targets(self, parts: Path, notes: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return the classes to explain; the most probable ones are found by a first pass, once."""
        if self.request.top is None:
            return self.request.targets
        if "targets" not in notes:
            targets = self.request.most_probable(self.windows())
            note(parts, self.key, targets=targets)
            return targets
        return None if notes["targets"] is None else tuple(notes["targets"])

    def _tape(self, parts: Path, total: int | None) -> Tape:
        request, settings = self.request, self.request.classifier.spectrogram.config
        grid = Grid(settings.hop_length / self.rate, self.rate / settings.n_fft, 0.0, self.rate / 2)
        columns = _COLUMNS_A_WINDOW if total is None else -(-COLUMNS // total)
        tracks = [
            Track(parts, number, request.windows, request.hard, grid, columns)
            for number in range(request.parts)
        ]
        return Tape(parts, tracks, Tally(request.classifier.labels, request.parts))

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
        return Recorded(values, [path.replace(folder / path.name) for path in made])

    def _told(self, tape: Tape, number: int) -> dict[str, Any]:
        """Return what `Explanation.to_dict` says."""
        request, track = self.request, tape.tracks[number]
        fixed = request.targets is not None or request.top is not None
        told = tape.tally.told(number, fixed)
        picture = track.frames.position * request.classifier.spectrogram.bins
        regions = [asdict(replace(r, share=r.share / (track.energy or 1))) for r in track.regions]
        return {
            "input": named(self.path),
            "model": request.model.name,
            "method": request.method,
            "label": told["label"],
            "decision": told["decision"],
            "probability": finite(told["probability"]),
            "kept": finite(track.kept / picture),
            "threshold": request.threshold,
            "area": request.area,
            "scores": finite_all(told["scores"]),
            "sample_rate": self.rate,
            "samples": tape.end,
            "regions": regions,
            "timeline": moments_to_dicts(told["timeline"]),
            "earmark": __version__,
        }

    def _sounds(self, track: Track, samples: int, folder: Path, name: str) -> list[Path]:
        paths = [folder / f"{name}.{ending}" for ending in ("listen.wav", "rest.wav")]
        subtype = "PCM_16" if track.peak <= 1 else "FLOAT"
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
