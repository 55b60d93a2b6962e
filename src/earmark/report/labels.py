"""Regions of explanations as labels of the tools that people annotate sound with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from earmark.errors import RecipeError
from earmark.files import write_text

Values = Mapping[str, Any]
"""What STEM.json holds of a sound, of one class or of several."""


class Label(NamedTuple):
    """A box in time and frequency with a class.

    Args:
        start: in seconds.
        end: in seconds.
        low: in Hz.
        high: in Hz.
        label: the class that is explained there.
        score: the classifier's probability for it there, 0 … 1.
        share: how much of what was kept lies in the box, 0 … 1.
    """

    start: float
    end: float
    low: float
    high: float
    label: str
    score: float
    share: float


def labels_of(values: Values) -> list[Label]:
    """Return the regions of a sound's explanations as labels, in the order of time.

    Where windows were explained for what each decided, a region has the class of the window whose middle is
    nearest to its own.

    Args:
        values: what STEM.json holds.
    """
    found = []
    for one in values.get("explanations", [values]):
        heard = [moment for moment in one["timeline"] if moment["label"] is not None]
        for region in one["regions"]:
            middle = (region["start"] + region["end"]) / 2
            moment = min(heard, key=lambda moment: abs((moment["start"] + moment["end"]) / 2 - middle))
            box = {name: float(region[name]) for name in ("start", "end", "low", "high", "share")}
            found.append(Label(label=moment["label"], score=moment["probability"] or 0.0, **box))
    return sorted(found)


def raven(values: Values) -> str:
    """Return a selection table of Raven: tab-separated, a box a line."""
    columns = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"]
    columns += ["High Freq (Hz)", "Class", "Score", "Share"]
    lines = ["\t".join(columns)]
    for number, box in enumerate(labels_of(values), start=1):
        times = f"{box.start:.6f}\t{box.end:.6f}\t{box.low:.1f}\t{box.high:.1f}"
        lines.append(
            f"{number}\tSpectrogram 1\t1\t{times}\t{_plain(box.label)}\t{box.score:.4f}\t{box.share:.4f}"
        )
    return "\n".join(lines) + "\n"


def audacity(values: Values) -> str:
    """Return a label track of Audacity, whose second line of each label has its frequencies."""
    return "".join(
        f"{box.start:.6f}\t{box.end:.6f}\t{_plain(box.label)}\n\\\t{box.low:.1f}\t{box.high:.1f}\n"
        for box in labels_of(values)
    )


def label_studio(values: Values) -> str:
    """Return a task of Label Studio with predictions, for ``<Labels name="label" toName="audio">``.

    Its audio labels have no frequencies; they stand in the regions' notes.
    """
    results = [
        {
            "id": f"earmark-{number}",
            "from_name": "label",
            "to_name": "audio",
            "type": "labels",
            "value": {"start": box.start, "end": box.end, "channel": 0, "labels": [box.label]},
            "score": box.score,
            "meta": {"text": [f"{box.low:.0f} to {box.high:.0f} Hz, {box.share:.0%} of what was kept"]},
        }
        for number, box in enumerate(labels_of(values), start=1)
    ]
    first = values.get("explanations", [values])[0]
    prediction = {
        "model_version": f"{first['model']} by {first['method']}",
        "score": max((box.score for box in labels_of(values)), default=0.0),
        "result": results,
    }
    task = {"data": {"audio": values["input"]}, "predictions": [prediction]}
    return json.dumps([task], indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_lines(values: Values) -> str:
    """Return a JSON object a line, for programs."""
    return "".join(
        json.dumps({"input": values["input"], **box._asdict()}, ensure_ascii=False, allow_nan=False) + "\n"
        for box in labels_of(values)
    )


def text_grid(values: Values) -> str:
    """Return a TextGrid of Praat, which ELAN reads as well: a tier of intervals for each class."""
    labels = labels_of(values)
    first = values.get("explanations", [values])[0]
    end = first["samples"] / first["sample_rate"]
    names = sorted({box.label for box in labels}) or [first["label"]]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(names)}", "item []:"]
    for number, name in enumerate(names, start=1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
        ]
        own = [(box.start, box.end) for box in labels if box.label == name]
        intervals = list(_intervals(own, end))
        lines += [f"        xmin = 0\n        xmax = {end:.6f}\n        intervals: size = {len(intervals)}"]
        for place, (start, stop, inside) in enumerate(intervals, start=1):
            lines.append(f"        intervals [{place}]:")
            lines.append(f"            xmin = {start:.6f}\n            xmax = {stop:.6f}")
            lines.append(f"            text = {_quoted(name if inside else '')}")
    return "\n".join(lines) + "\n"


class _Format(NamedTuple):
    ending: str
    write: Callable[[Values], str]


FORMATS = {
    "raven": _Format("raven.txt", raven),
    "audacity": _Format("audacity.txt", audacity),
    "label-studio": _Format("label-studio.json", label_studio),
    "jsonl": _Format("jsonl", json_lines),
    "textgrid": _Format("TextGrid", text_grid),
}
"""The formats by name: how files end after the stem, and what makes their text."""


def check_formats(names: Sequence[str]) -> tuple[str, ...]:
    """Return the formats asked for, each once.

    Raises:
        RecipeError: there is none of that name.

    >>> check_formats(["raven", "raven", "jsonl"])
    ('raven', 'jsonl')
    """
    for name in names:
        if name not in FORMATS:
            raise RecipeError(f"there are no labels {name!r}", f"some of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def write_labels(values: Values, folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """Write the labels of a sound, STEM.raven.txt and so on, each file whole.

    Args:
        values: what STEM.json holds.
        folder: where.
        stem: how the names begin.
        formats: some of `FORMATS`.

    Raises:
        OutputError: the folder cannot be written.
    """
    paths = []
    for name in formats:
        paths.append(folder / f"{stem}.{FORMATS[name].ending}")
        write_text(paths[-1], FORMATS[name].write(values))
    return paths


def _intervals(parts: Sequence[tuple[float, float]], end: float) -> Iterator[tuple[float, float, bool]]:
    """Yield a whole tier without gaps or overlaps: parts that meet become one.

    >>> list(_intervals([(1.0, 2.0), (1.5, 3.0)], 4.0))
    [(0.0, 1.0, False), (1.0, 3.0, True), (3.0, 4.0, False)]
    """
    at = 0.0
    waiting: tuple[float, float] | None = None
    for start, stop in [*sorted(parts), (end, end)]:
        if waiting and start <= waiting[1] and start < end:
            waiting = (waiting[0], max(waiting[1], stop))
            continue
        if waiting:
            if waiting[0] > at:
                yield at, waiting[0], False
            yield *waiting, True
            at = waiting[1]
        waiting = (start, min(stop, end))
    if at < end:
        yield at, end, False


def _plain(label: str) -> str:
    """Keep a name from breaking a table of tabs and lines."""
    return re.sub(r"\s+", " ", label).strip()


def _quoted(text: str) -> str:
    """Quote for Praat, in which a doubled quote stands for one."""
    return '"' + _plain(text).replace('"', '""') + '"'
