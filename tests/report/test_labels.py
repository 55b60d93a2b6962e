"""Labels, each read back by a parser of its format, written from the format's public description."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.errors import RecipeError
from earmark.report.labels import FORMATS, check_formats, labels_of, write_labels

NASTY = 'dog "<script>\talert(1)</script>"\nÜhu'


def region(start: float, end: float, low: float, high: float, share: float) -> dict[str, float]:
    return {"start": start, "end": end, "low": low, "high": high, "share": share}


def moment(start: float, end: float, label: str | None, probability: float | None) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "probability": probability}


@pytest.fixture
def values() -> dict[str, Any]:
    """Return what is said of ten seconds in which a dog is heard, then silence, then a strange class."""
    return {
        "input": 'näch"t 1.wav',
        "model": "esc10",
        "method": "lmac",
        "label": "dog",
        "sample_rate": 1000,
        "samples": 10_000,
        "regions": [
            region(8.5, 9.75, 500, 1000, 0.2),
            region(0.5, 1.25, 100, 200.5, 0.6),
            region(1.0, 2.0, 300, 400, 0.2),
        ],
        "timeline": [
            moment(0, 4, "dog", 0.9),
            moment(3, 7, None, 0.0),
            moment(6, 10, NASTY, 0.5),
        ],
    }


BOXES = [(0.5, 1.25, 100, 200.5), (1.0, 2.0, 300, 400), (8.5, 9.75, 500, 1000)]


def plain(label: str) -> str:
    return " ".join(label.split())


def test_a_region_has_the_class_of_its_window(values: dict[str, Any]) -> None:
    found = labels_of(values)
    assert [tuple(label[:4]) for label in found] == BOXES
    assert [label.label for label in found] == ["dog", "dog", NASTY]
    assert [label.score for label in found] == [0.9, 0.9, 0.5]


def test_raven_reads_its_selection_table(values: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["raven"].write(values)), delimiter="\t"))
    names = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"
    assert [tuple(float(row[name]) for name in names) for row in rows] == BOXES
    assert [row["Class"] for row in rows] == ["dog", "dog", plain(NASTY)]
    assert [int(row["Selection"]) for row in rows] == [1, 2, 3]
    assert {(row["View"], row["Channel"]) for row in rows} == {("Spectrogram 1", "1")}


def test_audacity_reads_its_label_track(values: dict[str, Any]) -> None:
    lines = FORMATS["audacity"].write(values).splitlines()
    found = []
    for times, frequencies in zip(lines[::2], lines[1::2], strict=True):
        start, end, label = times.split("\t")
        mark, low, high = frequencies.split("\t")
        assert mark == "\\"
        found.append((float(start), float(end), float(low), float(high), label))
    assert [each[:4] for each in found] == BOXES
    assert found[2][4] == plain(NASTY)


def test_label_studio_reads_its_predictions(values: dict[str, Any]) -> None:
    (task,) = json.loads(FORMATS["label-studio"].write(values))
    assert task["data"] == {"audio": 'näch"t 1.wav'}
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.9
    spans = [(one["value"]["start"], one["value"]["end"]) for one in prediction["result"]]
    assert spans == [box[:2] for box in BOXES]
    assert prediction["result"][2]["value"]["labels"] == [NASTY]
    assert len({one["id"] for one in prediction["result"]}) == 3
    assert {(one["from_name"], one["to_name"], one["type"]) for one in prediction["result"]} == {
        ("label", "audio", "labels")
    }


def test_json_lines_are_boxes(values: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in FORMATS["jsonl"].write(values).splitlines()]
    assert [(row["start"], row["end"], row["low"], row["high"]) for row in rows] == BOXES
    assert rows[2]["label"] == NASTY


def read_text_grid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Read a TextGrid in its long form: quoted strings, in which a doubled quote is one, and numbers."""
    tokens = re.findall(r'"(?:[^"]|"")*"|=\s*(?:-?\d+(?:\.\d+)?)|<exists>', text)
    values = [
        token[1:-1].replace('""', '"') if token[0] == '"' else float(token.lstrip("= "))
        for token in tokens
        if token != "<exists>"
    ]
    assert values[:2] == ["ooTextFile", "TextGrid"]
    _, end, count = values[2:5]
    at, tiers = 5, {}
    for _ in range(int(count)):
        kind, name, start, stop, size = values[at : at + 5]
        assert (kind, start, stop) == ("IntervalTier", 0, end)
        at += 5
        tiers[name] = [tuple(values[at + 3 * k : at + 3 * k + 3]) for k in range(int(size))]
        at += 3 * int(size)
    assert at == len(values)
    return tiers


def test_praat_reads_its_tiers_which_have_neither_gaps_nor_overlaps(values: dict[str, Any]) -> None:
    tiers = read_text_grid(FORMATS["textgrid"].write(values))
    assert tiers["dog"] == [(0, 0.5, ""), (0.5, 2.0, "dog"), (2.0, 10, "")]
    strange = plain(NASTY)
    assert tiers[strange] == [(0, 8.5, ""), (8.5, 9.75, strange), (9.75, 10, "")]


def test_several_classes_are_in_one_file(values: dict[str, Any]) -> None:
    one = values | {"timeline": [moment(0, 10, "dog", 0.9)]}
    other = values | {"timeline": [moment(0, 10, "owl", None)], "label": "owl", "regions": []}
    both = {"input": "a.wav", "contrast": False, "explanations": [one, other]}
    assert {label.label for label in labels_of(both)} == {"dog"}
    assert list(read_text_grid(FORMATS["textgrid"].write(both))) == ["dog"]
    nothing = both | {"explanations": [other]}
    assert read_text_grid(FORMATS["textgrid"].write(nothing)) == {"owl": [(0, 10, "")]}
    assert FORMATS["audacity"].write(nothing) == ""


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"no labels 'csv'; expected some of raven, audacity"):
        check_formats(["raven", "csv"])


def test_files_are_named_after_the_stem(values: dict[str, Any], tmp_path: Path) -> None:
    paths = write_labels(values, tmp_path, "a b", tuple(FORMATS))
    assert [path.name for path in paths] == [
        *("a b.raven.txt", "a b.audacity.txt", "a b.label-studio.json", "a b.jsonl", "a b.TextGrid")
    ]


def test_explain_writes_them_also_for_what_is_done(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "noise.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    command = ["explain", str(tmp_path / "noise.wav"), "--out", str(tmp_path / "out"), "--labels"]
    result = CliRunner().invoke(app, [*command, "raven"])
    assert result.exit_code == 0, result.stderr
    there = json.loads((tmp_path / "out" / "noise.json").read_text())
    table = (tmp_path / "out" / "noise.raven.txt").read_text().splitlines()
    assert len(table) == 1 + len(there["regions"])
    again = CliRunner().invoke(app, [*command, "jsonl, audacity", "--json"])
    assert [Path(file).name for file in json.loads(again.stdout)["files"]][-3:] == [
        *("noise.jsonl", "noise.audacity.txt", "noise.json")
    ]
    refused = CliRunner().invoke(app, [*command, "csv"])
    assert (refused.exit_code, "no labels 'csv'" in refused.stderr) == (2, True)
