"""The page of an evaluation holds every table's figures, as text, and needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from earmark.cli.main import app
from earmark.evaluation.tables import BETTER
from earmark.report.evaluation import MEANINGS, evaluation_page

NASTY = "<script>alert(1)</script>"
CLIPS = 7


def results(methods: dict[str, float], areas: tuple[float, ...] = (np.nan, 0.1)) -> pd.DataFrame:
    """Return results in which every figure of a method is its value."""
    parts = []
    for method, value in methods.items():
        for area in areas:
            names = [f"clip {number}" for number in range(CLIPS)]
            fixed: dict[str, object] = {"protocol": "corrected", "domain": "stft", "condition": NASTY}
            fixed |= {"label": "dog", "target": "dog", "error": "", "sound": names, "clip": names, "seed": 0}
            figures = {name: np.full(CLIPS, value) for name in BETTER if name != "accuracy"}
            parts.append(pd.DataFrame(fixed | {"method": method, "area": area} | figures))
    return pd.concat(parts, ignore_index=True)


class Tables(HTMLParser):
    """All cells of all tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.tables[-1][-1][-1] += data


def test_a_table_for_every_area_with_the_means() -> None:
    text = evaluation_page(results({"lmac": 0.5, "x<b>": 0.25}), "A & B")
    found = Tables(text).tables
    assert len(found) == 2
    for header, first, second in found:
        assert header[:2] == ["method", "AI ↑"]
        assert first[0] == "lmac"
        assert first[header.index("FF ↑")] == "0.50 ±0.00"
        assert second[0] == "x<b>"
        assert second[header.index("FF ↑")].startswith("0.25")
    assert "<h1>A &amp; B</h1>" in text
    assert text.count("<script") == 1
    assert NASTY not in text
    assert "data:image/png;base64," in text
    assert not re.search(r"https?://", text)
    assert all(f"<dt>{name}</dt>" in text for name in MEANINGS)


def test_soft_masks_alone_have_no_curves() -> None:
    assert "<img" not in evaluation_page(results({"lmac": 0.5}, areas=(np.nan,)), "A")


def test_the_command_tells_results_from_folders(tmp_path: Path) -> None:
    file, out = tmp_path / "rés ults.csv", tmp_path / "page.html"
    results({"lmac": 0.5}).to_csv(file, index=False)
    done = CliRunner().invoke(app, ["report", str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "How the methods of rés ults do" in out.read_text(encoding="utf-8")
    both = CliRunner().invoke(app, ["report", str(file), str(tmp_path), "--out", str(out)])
    assert both.exit_code == 1
    assert "one results file, or folders of explanations" in both.output
    file.write_text("a,b\n1,2\n")
    wrong = CliRunner().invoke(app, ["report", str(file), "--out", str(out)])
    assert wrong.exit_code == 1
    assert "is no results file" in wrong.output


@pytest.mark.parametrize("name", list(MEANINGS))
def test_what_is_explained_is_what_is_averaged(name: str) -> None:
    assert name in BETTER
